package openai

import (
	"strconv"
	"strings"

	"weir/internal/llm"
)

// TokenizeRequest is the body of /tokenize (vLLM's): a prompt or a conversation.
type TokenizeRequest struct {
	Conversation
	Model            string  `json:"model,omitempty"`
	Prompt           *string `json:"prompt,omitempty"`
	AddSpecialTokens *bool   `json:"add_special_tokens,omitempty"`
	ReturnTokenStrs  bool    `json:"return_token_strs,omitempty"`
}

// DetokenizeRequest is the body of /detokenize (vLLM's).
type DetokenizeRequest struct {
	Model  string  `json:"model,omitempty"`
	Tokens []int32 `json:"tokens"`
}

// TemplateRequest is the body of /apply-template (llama.cpp's).
type TemplateRequest struct {
	Conversation
	Model string `json:"model,omitempty"`
}

// TokenizeFields, DetokenizeFields and TemplateFields list the fields of those requests.
func TokenizeFields() []Field   { return tokenizeTable.fields() }
func DetokenizeFields() []Field { return detokenizeTable.fields() }
func TemplateFields() []Field   { return templateTable.fields() }

const modelNote = "One of `/v1/models`. May be left out while one model is served."

var tokenizeTable = newTable([]entry[TokenizeRequest]{
	text("model", modelNote, func(r *TokenizeRequest) *string { return &r.Model }),
	custom("prompt", "String. Either it or `messages`.", func(r *TokenizeRequest, v value) error {
		s, err := v.text()
		r.Prompt = &s
		return err
	}),
	optionalToggle("add_special_tokens", "Let the tokeniser add its own (BOS). Default: true for a prompt, false for messages.", func(r *TokenizeRequest) **bool { return &r.AddSpecialTokens }),
	toggle("return_token_strs", "Adds `token_strs`: the tokens as the vocabulary writes them.", func(r *TokenizeRequest) *bool { return &r.ReturnTokenStrs }),
}, lift(conversationFields, func(r *TokenizeRequest) *Conversation { return &r.Conversation }))

var detokenizeTable = newTable([]entry[DetokenizeRequest]{
	text("model", modelNote, func(r *DetokenizeRequest) *string { return &r.Model }),
	custom("tokens", "Token ids.", func(r *DetokenizeRequest, v value) (err error) {
		r.Tokens, err = v.ids()
		return err
	}),
})

var templateTable = newTable([]entry[TemplateRequest]{
	text("model", modelNote, func(r *TemplateRequest) *string { return &r.Model }),
}, lift(conversationFields, func(r *TemplateRequest) *Conversation { return &r.Conversation }))

// DecodeTokenize reads the body of /tokenize.
func DecodeTokenize(body []byte) (*TokenizeRequest, error) {
	r := new(TokenizeRequest)
	if err := decode(body, tokenizeTable, r); err != nil {
		return nil, err
	}
	if r.Prompt == nil {
		return r, r.Conversation.check()
	}
	if r.Messages != nil {
		return nil, value{path: "prompt"}.invalid("messages are given, too: keep one of them")
	}
	return r, nil
}

// DecodeDetokenize reads the body of /detokenize.
func DecodeDetokenize(body []byte) (*DetokenizeRequest, error) {
	r := new(DetokenizeRequest)
	if err := decode(body, detokenizeTable, r); err != nil {
		return nil, err
	}
	if r.Tokens == nil {
		return nil, missing("tokens")
	}
	return r, nil
}

// DecodeTemplate reads the body of /apply-template.
func DecodeTemplate(body []byte) (*TemplateRequest, error) {
	r := new(TemplateRequest)
	if err := decode(body, templateTable, r); err != nil {
		return nil, err
	}
	return r, r.Conversation.check()
}

// Input gives what to tokenise. The error is an [*llm.Error].
func (r *TokenizeRequest) Input(m llm.Model) (llm.Prompt, llm.TokenizeOptions, error) {
	if r.Prompt != nil {
		return llm.Text(*r.Prompt), llm.TokenizeOptions{NoSpecial: r.AddSpecialTokens != nil && !*r.AddSpecialTokens}, nil
	}
	if !m.Chat && r.Template == "" {
		return nil, llm.TokenizeOptions{}, noTemplate(m)
	}
	chat := r.Chat()
	chat.AddSpecialToken = r.AddSpecialTokens != nil && *r.AddSpecialTokens
	return chat, llm.TokenizeOptions{}, nil
}

// Check tells whether model m has the ids and can give their text.
func (r *DetokenizeRequest) Check(m llm.Model) error {
	for i, id := range r.Tokens {
		if int(id) >= m.Vocab {
			return value{path: "tokens"}.element(i, nil).invalid("token %d is outside the vocabulary of %d", id, m.Vocab)
		}
	}
	return nil
}

// Check tells whether there is a template to apply.
func (r *TemplateRequest) Check(m llm.Model) error {
	if !m.Chat && r.Template == "" {
		return noTemplate(m)
	}
	return nil
}

// AppendTokenize appends the response of /tokenize. text gives a token's text;
// nil leaves token_strs null.
func AppendTokenize(dst []byte, m llm.Model, ids []int32, text func(int32) string) []byte {
	dst = strconv.AppendInt(append(dst, `{"count":`...), int64(len(ids)), 10)
	dst = strconv.AppendInt(append(dst, `,"max_model_len":`...), int64(m.Context), 10)
	dst = appendInts(append(dst, `,"tokens":`...), ids)
	dst = append(dst, `,"token_strs":`...)
	if text == nil {
		return append(dst, "null}"...)
	}
	dst = append(dst, '[')
	for i, id := range ids {
		dst = appendString(comma(dst, i), text(id))
	}
	return append(dst, "]}"...)
}

// AppendPrompt appends the response of /detokenize and of /apply-template.
func AppendPrompt(dst []byte, text string) []byte {
	return append(appendString(append(dst, `{"prompt":`...), text), '}')
}

// AppendModel appends a model as /v1/models/{id} gives it, under one of its names.
func AppendModel(dst []byte, m llm.Model, name string) []byte {
	dst = appendString(append(dst, `{"id":`...), name)
	dst = strconv.AppendInt(append(dst, `,"object":"model","created":`...), m.Created, 10)
	dst = appendString(appendKey(dst, "owned_by"), m.OwnedBy)
	dst = appendString(appendKey(dst, "root"), m.ID)
	if m.Context > 0 { // else it has not been loaded yet
		dst = strconv.AppendInt(appendKey(dst, "max_model_len"), int64(m.Context), 10)
	}
	if m.State != "" {
		dst = appendString(appendKey(dst, "state"), m.State)
	}
	return append(dst, '}')
}

// ModelFields lists the fields of a request about a model alone.
func ModelFields() []Field { return modelTable.fields() }

var modelTable = newTable([]entry[string]{
	text("model", modelNote, func(r *string) *string { return r }),
})

// DecodeModelName reads the body of POST /models/load and /models/unload.
func DecodeModelName(body []byte) (string, error) {
	var name string
	err := decode(body, modelTable, &name)
	return name, err
}

// AppendModels appends the response of /v1/models: every model under each of its names.
func AppendModels(dst []byte, models []llm.Model) []byte {
	dst = append(dst, `{"object":"list","data":[`...)
	for i, m := range models {
		dst = AppendModel(comma(dst, i), m, m.ID)
		for _, alias := range m.Aliases {
			dst = AppendModel(append(dst, ','), m, alias)
		}
	}
	return append(dst, "]}"...)
}

func quoteList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		if len(n) > 100 {
			n = strings.ToValidUTF8(n[:100], "") + "..."
		}
		quoted[i] = strconv.Quote(n)
	}
	return strings.Join(quoted, ", ")
}
