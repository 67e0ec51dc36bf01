// Package llm is weir's vocabulary: what a request is, what comes back, and how
// it can fail. It holds no logic and imports nothing of weir, so that the
// server, the engine, the drivers of other engines, the load generator and the
// wire dialects all speak of the same things.
//
// The life of a request in these terms: a dialect (package openai, say) decodes
// bytes into a [Request]; a [Generator] turns it into a sequence of [Event]s, or
// an [*Error]; the dialect encodes those. Nothing above a Generator knows
// whether weir's own engine or another one answers.
package llm

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

// Generator answers requests. Implementations are safe for concurrent use.
type Generator interface {
	// Generate answers one request. The sequence yields events in the order in
	// which they happen; the events of one choice are in order, those of
	// several choices interleave. It ends after the event that carries Usage,
	// or with a single non-nil error (an *Error where the cause is known) and
	// nothing after it.
	//
	// The request's work happens while the caller ranges: breaking out of the
	// loop or cancelling ctx cancels it, and what it held is free within one
	// step of the engine. A caller that is slow to take events slows only this
	// request's delivery, never the engine.
	Generate(ctx context.Context, r *Request) iter.Seq2[Event, error]

	// Model tells what the generator serves.
	Model() Model
}

// Texter is what a Generator offers besides generating when it can reach its
// model's tokeniser and chat template. The tokenise endpoints need it.
type Texter interface {
	// Tokenize turns a prompt into the ids that Generate would compute for it.
	Tokenize(ctx context.Context, p Prompt, o TokenizeOptions) ([]int32, error)
	// Detokenize gives the text of ids.
	Detokenize(ids []int32) (string, error)
	// Render applies the chat template.
	Render(ctx context.Context, c *Chat) (string, error)
	// TokenText gives a token as its vocabulary writes it.
	TokenText(id int32) string
}

// Admitter is what a Generator offers besides generating when it bounds what it
// has accepted.
type Admitter interface {
	// Admit reserves room for requests that will be generated soon, atOnce of them
	// at a time, and puts the place into each. It judges by sizes alone: nothing
	// has been rendered or tokenised yet. The error is an *Error, Overloaded with
	// RetryAfter where that is known.
	//
	// Generate reserves room by itself for a request without a place.
	Admit(requests []*Request, atOnce int) (Place, error)
	// Full is Admit for a request of a caller of which nothing is known yet: not
	// even its body has been read. nil: it may be admitted.
	Full(caller string, share int) error
}

// Place is room that is held. It is safe for concurrent use.
type Place interface {
	// Leave gives the room back, after the last of its requests has ended.
	Leave()
}

// TokenizeOptions says how Tokenize reads a text.
type TokenizeOptions struct {
	// NoSpecial leaves out the tokens (such as BOS) that the tokeniser adds
	// around a text by itself.
	NoSpecial bool
}

// Model describes a served model.
type Model struct {
	ID       string   // the name that requests give
	Aliases  []string // other names that it answers to
	Family   string   // "llama", "qwen3"
	Created  int64    // Unix seconds; when it was loaded
	Context  int      // longest prompt and output together, in tokens
	Vocab    int      // number of token ids
	Chat     bool     // it has a chat template
	Likely   string   // the format of chats that the vocabulary of a model without one has the marks of
	Bytes    int64    // weights
	Quant    string   // "Q8_0", "Q4_K_M": what most weights are stored as
	Params   int64    // number of weights
	OwnedBy  string   // for listings
	MaxTopLP int      // most top logprobs that a request may ask for
	State    string   // "loaded", "unloaded" or between them; "": it is always there

	// Defaults are the parameters of a request that names none, from the
	// model's generation_config; nil for [DefaultParams].
	Defaults *Params
}

// Request asks for the continuation of one prompt.
type Request struct {
	ID       string // unique; made by the server, or the client's own
	Model    string
	Prompt   Prompt
	Params   Params
	Priority int // lower is served sooner; 0 is usual (vLLM's convention)

	// CacheSalt keeps requests apart: only those with the same salt share what the
	// prefix cache holds, so that nobody can tell by timing what others asked.
	CacheSalt string
	// ExplainCache asks what the prefix cache had of the prompt, and where the two
	// part ways: PromptInfo.Cache.
	ExplainCache bool

	// Reading says how the answer to a Chat is read.
	Reading Reading

	// Tokenize says how a Text prompt is read; other prompts ignore it.
	Tokenize TokenizeOptions

	// Caller is who asks: the name of an API key, never the key. Callers get fair
	// shares of what there is, in proportion to Share (0 is 1).
	Caller string
	Share  int

	// Place is what an Admitter has reserved for the request; nil: nothing yet.
	Place Place
	// QueueBy is when the request's computation must have begun, or it fails with
	// Timeout. The zero time: never mind.
	QueueBy time.Time
}

// Deadlines are how long a request may take, from its arrival; 0 is no limit.
type Deadlines struct {
	Queue      time.Duration // until its computation begins
	FirstToken time.Duration // until its first token
	Total      time.Duration // until its last
}

// Prompt is one of Text, Tokens or *Chat.
type Prompt interface{ prompt() }

// Text is a plain prompt. Special tokens written out in it are read as such, as
// every peer does on its completions endpoint: whoever renders templates by
// himself needs it. Text from users belongs into a Chat.
type Text string

// Tokens is a prompt as ids, taken as they are: nothing is added.
type Tokens []int32

// Chat is a conversation, to be rendered by the model's chat template.
//
// Messages, Tools and Documents stay JSON: a template sees every field that a
// client sent, in the order in which it was sent (templates print tools with
// tojson, and the order of keys changes the tokens).
type Chat struct {
	Messages        json.RawMessage            // a list of message objects
	Tools           json.RawMessage            // a list, or nil
	Documents       json.RawMessage            // a list, or nil
	Kwargs          map[string]json.RawMessage // further template variables (chat_template_kwargs)
	Template        string                     // overrides the model's own; "" for that
	NoGeneration    bool                       // do not open the assistant's turn
	ContinueFinal   bool                       // continue the last message instead of opening a turn
	AddSpecialToken bool                       // let the tokeniser add BOS besides what the template wrote
}

func (Text) prompt()   {}
func (Tokens) prompt() {}
func (*Chat) prompt()  {}

// Params says how to continue. The zero value of a field is "not given" only
// where its comment says so; [DefaultParams] has the API's defaults, which a
// model's generation_config may replace.
type Params struct {
	MaxTokens *int // nil: up to the context
	MinTokens int  // no end-of-sequence or stop token before so many tokens

	Temperature float64 // 0: greedy
	TopK        int     // 0: off
	TopP        float64 // 1: off
	MinP        float64 // 0: off
	TypicalP    float64 // 1: off

	RepetitionPenalty float64 // 1: off; over prompt and output
	FrequencyPenalty  float64 // 0: off; over output
	PresencePenalty   float64 // 0: off; over output
	LogitBias         map[int32]float64

	Seed *uint64 // nil: a fresh one

	Stop        []string // ends the output before the string
	StopTokens  []int32  // ends the output before the token
	IncludeStop bool     // leave the stop string in the text
	IgnoreEOS   bool     // do not end at the model's own end tokens
	KeepSpecial bool     // show special tokens in the text (skip_special_tokens: false)

	N      int // choices to return, at least 1
	BestOf int // choices to compute, at least N; the most probable are returned

	// Structure, when not nil, is what the output's text must be.
	Structure *Structure

	// Logprobs, when not nil, asks for the log probability of each output token
	// and of so many alternatives (0: of the token alone).
	Logprobs *int
	// PromptLogprobs asks the same for the prompt.
	PromptLogprobs *int
	// Echo puts the prompt's text before the output's.
	Echo bool
}

// Structure is what an output's text must be: the first of its fields that is set
// says it.
type Structure struct {
	Schema  json.RawMessage // a document of this JSON Schema
	Object  bool            // any JSON object
	Regex   string          // a text that this matches as a whole
	Choice  []string        // one of these
	Grammar string          // a text of this grammar, in GBNF or Lark's EBNF
	// Field is what the request calls it, for messages.
	Field string
}

// DefaultParams returns the OpenAI API's defaults.
func DefaultParams() Params {
	return Params{Temperature: 1, TopP: 1, TypicalP: 1, RepetitionPenalty: 1, N: 1, BestOf: 1}
}

// Event is one thing that happened to a request. The first event of a request
// carries Prompt, the last Usage; each choice's last carries Finish.
type Event struct {
	Choice int
	Text   string  // text that became certain; may be empty (half a character, a possible stop string)
	Tokens []Token // the ids computed since the last event of this choice

	// Reasoning and Calls are what became certain of thinking and of tool calls,
	// where Request.Reading asks for them; Text then has neither.
	Reasoning string
	Calls     []CallDelta

	Prompt *PromptInfo
	Finish Finish
	// StopString or StopToken say what ended a choice with FinishStop, if not
	// the model's own end token.
	StopString string
	StopToken  *int32
	Usage      *Usage
	Timing     *Timing // comes with Prompt, from who knows it
	// Step numbers the engine's step that computed Tokens, from 1: tokens that were
	// guessed come several a step. 0: not known.
	Step int64
}

// Timing is how long the way to a request's first token took.
type Timing struct {
	Queued    time.Duration // waiting for the computation of the prompt to begin
	Computing time.Duration // the prompt's, up to the first token
}

// PromptInfo is what became of the prompt.
type PromptInfo struct {
	IDs      []int32
	Text     string  // only when Params.Echo asks for it
	Logprobs []Token // only when asked for; the first has no Logprob
	Cache    *CacheInfo
}

// Token is an id with, when asked for, its log probability.
type Token struct {
	ID      int32
	Logprob *float64 // natural logarithm, under the model's own distribution; nil: not asked for
	Top     []Alt    // most probable first
	Bytes   []byte   // what the token stands for
}

// Alt is one of the most probable tokens at a position.
type Alt struct {
	ID      int32
	Logprob float64
	Bytes   []byte
}

// Finish says why a choice ended.
type Finish string

// The ways a choice ends. The zero value: it has not.
const (
	FinishNone   Finish = ""
	FinishStop   Finish = "stop"       // the model's end, a stop string or token
	FinishLength Finish = "length"     // MaxTokens or the context is full
	FinishCalls  Finish = "tool_calls" // the model's end, after a tool call
)

// Usage counts a request's tokens.
type Usage struct {
	PromptTokens     int
	CachedTokens     int // of PromptTokens: not computed again
	CompletionTokens int // over all choices computed
	// Guesses tells how speculation fared; nil: nothing was guessed.
	Guesses *Guesses
}

// Guesses counts what was guessed ahead for a request. It never changes an answer.
type Guesses struct {
	Drafts int // checked, of whatever size
	Tokens int // in them
	Held   int // tokens that came true; they are part of the output
	// HeldAt is Held by place in the draft, from its first token on.
	HeldAt []int
}
