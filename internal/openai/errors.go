package openai

import (
	"context"
	"errors"
	"net/http"

	"weir/internal/llm"
)

// Status gives the HTTP status of a kind of failure. Nobody reads Canceled's:
// it is nginx's "client closed request", for the log.
func Status(k llm.Kind) int {
	switch k {
	case llm.Invalid, llm.TooLong:
		return http.StatusBadRequest
	case llm.Unauthorized:
		return http.StatusUnauthorized
	case llm.Forbidden:
		return http.StatusForbidden
	case llm.NotFound:
		return http.StatusNotFound
	case llm.TooLarge:
		return http.StatusRequestEntityTooLarge
	case llm.Overloaded:
		return http.StatusTooManyRequests
	case llm.Unavailable:
		return http.StatusServiceUnavailable
	case llm.Timeout:
		return http.StatusGatewayTimeout
	case llm.Canceled:
		return 499
	}
	return http.StatusInternalServerError
}

// AsError finds the [*llm.Error] in err, or makes one. What is unknown becomes
// Internal with a message that tells a client nothing of our insides.
func AsError(err error) *llm.Error {
	var e *llm.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled):
		return &llm.Error{Kind: llm.Canceled, Message: "the request was cancelled", Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &llm.Error{Kind: llm.Timeout, Message: "the request took longer than allowed", Err: err}
	}
	return &llm.Error{Kind: llm.Internal, Message: "weir failed on this request; its log has the reason", Err: err}
}

// AppendError appends the body of an error response.
func AppendError(dst []byte, e *llm.Error) []byte {
	typ, _ := class(e.Kind)
	dst = append(dst, `{"error":{`...)
	dst = appendString(appendKey(dst, "message"), e.Message)
	dst = appendString(appendKey(dst, "type"), typ)
	dst = appendKey(dst, "param")
	if e.Param != "" {
		dst = appendString(dst, e.Param)
	} else {
		dst = append(dst, "null"...)
	}
	dst = appendString(appendKey(dst, "code"), Code(e))
	return append(dst, "}}"...)
}

// Code is the word for programs that an error is answered with.
func Code(e *llm.Error) string {
	if e.Code != "" {
		return e.Code
	}
	_, code := class(e.Kind)
	return code
}

// AppendErrorEvent appends an error for a stream that has begun, and [DONE], which
// there are clients that read on for.
func AppendErrorEvent(dst []byte, e *llm.Error) []byte {
	return append(AppendError(append(dst, "data: "...), e), "\n\ndata: [DONE]\n\n"...)
}

// class gives an error's type and its usual code.
func class(k llm.Kind) (typ, code string) {
	switch k {
	case llm.Invalid:
		return "invalid_request_error", "invalid_value"
	case llm.TooLong:
		return "invalid_request_error", "context_length_exceeded"
	case llm.Unauthorized:
		return "authentication_error", "invalid_api_key"
	case llm.Forbidden:
		return "permission_error", "forbidden"
	case llm.NotFound:
		return "invalid_request_error", "not_found"
	case llm.TooLarge:
		return "invalid_request_error", "request_too_large"
	case llm.Overloaded:
		return "rate_limit_error", "rate_limit_exceeded"
	case llm.Unavailable:
		return "server_error", "unavailable"
	case llm.Timeout:
		return "server_error", "timeout"
	case llm.Canceled:
		return "server_error", "canceled"
	}
	return "server_error", "internal_error"
}

// NoModel is the error for a model that is not served. served names those that are.
func NoModel(model string, served []string) *llm.Error {
	e := &llm.Error{Kind: llm.NotFound, Param: "model", Code: "model_not_found"}
	switch {
	case len(served) == 0:
		e.Message = "no model is served"
	case model == "":
		e.Message = "the request names no model, and several are served: set model to one of " + quoteList(served)
	default:
		e.Message = "model " + quoteList([]string{model}) + " is not served; served: " + quoteList(served)
	}
	return e
}
