package openai

import (
	"encoding/json"
	"math"
	"time"

	"weir/internal/llm"
)

// Limits of a request that do not depend on the model.
const (
	MaxChoices   = 128  // n and best_of, each (OpenAI's limit)
	MaxPrompts   = 1024 // prompts of one completion request
	MaxStops     = 16   // stop strings; OpenAI takes 4
	MaxStopBytes = 1024 // bytes of one stop string
	MaxBias      = 1024 // entries of logit_bias
	MaxSaltBytes = 1024 // of cache_salt
)

// completionTokens is max_tokens of a completion that does not say (OpenAI's default).
const completionTokens = 16

// Sampling is what chat and text completion requests share. A nil pointer is a
// field that was not given.
type Sampling struct {
	Model         string         `json:"model,omitempty"`
	Stream        bool           `json:"stream,omitempty"`
	StreamOptions *StreamOptions `json:"stream_options,omitempty"`

	MaxTokens *int `json:"max_tokens,omitempty"`
	MinTokens *int `json:"min_tokens,omitempty"`

	Temperature       *float64          `json:"temperature,omitempty"`
	TopP              *float64          `json:"top_p,omitempty"`
	TopK              *int              `json:"top_k,omitempty"`
	MinP              *float64          `json:"min_p,omitempty"`
	TypicalP          *float64          `json:"typical_p,omitempty"`
	RepetitionPenalty *float64          `json:"repetition_penalty,omitempty"`
	FrequencyPenalty  *float64          `json:"frequency_penalty,omitempty"`
	PresencePenalty   *float64          `json:"presence_penalty,omitempty"`
	LogitBias         map[int32]float64 `json:"logit_bias,omitempty"`
	Seed              *int64            `json:"seed,omitempty"`

	Stop              []string `json:"stop,omitempty"`
	StopTokenIDs      []int32  `json:"stop_token_ids,omitempty"`
	IncludeStop       bool     `json:"include_stop_str_in_output,omitempty"`
	IgnoreEOS         bool     `json:"ignore_eos,omitempty"`
	SkipSpecialTokens *bool    `json:"skip_special_tokens,omitempty"`
	AddSpecialTokens  *bool    `json:"add_special_tokens,omitempty"`

	N      *int `json:"n,omitempty"`
	BestOf *int `json:"best_of,omitempty"`

	PromptLogprobs   *int `json:"prompt_logprobs,omitempty"`
	ReturnTokenIDs   bool `json:"return_token_ids,omitempty"`
	TokensAsTokenIDs bool `json:"return_tokens_as_token_ids,omitempty"`
	Echo             bool `json:"echo,omitempty"`
	Priority         int  `json:"priority,omitempty"`

	// What the output must be, as it came.
	ResponseFormat    json.RawMessage `json:"response_format,omitempty"`
	StructuredOutputs json.RawMessage `json:"structured_outputs,omitempty"`
	GuidedJSON        json.RawMessage `json:"guided_json,omitempty"`
	GuidedRegex       string          `json:"guided_regex,omitempty"`
	GuidedChoice      []string        `json:"guided_choice,omitempty"`
	GuidedGrammar     string          `json:"guided_grammar,omitempty"`
	structure         *llm.Structure  // what they come to; nil: anything

	CacheSalt    string `json:"cache_salt,omitempty"`
	ExplainCache bool   `json:"explain_cache,omitempty"`

	StreamInterval    *int     `json:"stream_interval,omitempty"`
	Timeout           *float64 `json:"timeout,omitempty"` // and below: seconds
	QueueTimeout      *float64 `json:"queue_timeout,omitempty"`
	FirstTokenTimeout *float64 `json:"first_token_timeout,omitempty"`
}

// StreamOptions says what a stream carries besides text.
type StreamOptions struct {
	IncludeUsage    bool `json:"include_usage"`
	ContinuousUsage bool `json:"continuous_usage_stats,omitempty"`
}

// Conversation is what becomes a prompt through the chat template. The chat,
// tokenize and apply-template endpoints share it.
type Conversation struct {
	Messages        json.RawMessage            `json:"messages"`
	Tools           json.RawMessage            `json:"tools,omitempty"`
	Documents       json.RawMessage            `json:"documents,omitempty"`
	Template        string                     `json:"chat_template,omitempty"`
	Kwargs          map[string]json.RawMessage `json:"chat_template_kwargs,omitempty"`
	ReasoningEffort string                     `json:"reasoning_effort,omitempty"`
	AddGeneration   *bool                      `json:"add_generation_prompt,omitempty"`
	ContinueFinal   bool                       `json:"continue_final_message,omitempty"`
}

// ChatRequest is the body of /v1/chat/completions.
type ChatRequest struct {
	Sampling
	Conversation
	MaxCompletionTokens *int            `json:"max_completion_tokens,omitempty"`
	Logprobs            bool            `json:"logprobs,omitempty"`
	TopLogprobs         *int            `json:"top_logprobs,omitempty"`
	ToolChoice          json.RawMessage `json:"tool_choice,omitempty"`
	ParallelToolCalls   *bool           `json:"parallel_tool_calls,omitempty"`
	IncludeReasoning    *bool           `json:"include_reasoning,omitempty"`

	choice toolChoice
}

// CompletionRequest is the body of /v1/completions.
type CompletionRequest struct {
	Sampling
	Prompt   Prompts `json:"prompt"`
	Logprobs *int    `json:"logprobs,omitempty"`
}

// DecodeChat reads the body of a chat completion request. The error is an
// [*llm.Error] naming the field at fault.
func DecodeChat(body []byte) (*ChatRequest, error) {
	r := new(ChatRequest)
	if err := decode(body, chatTable, r); err != nil {
		return nil, err
	}
	return r, r.check()
}

// DecodeCompletion reads the body of a text completion request. The error is an
// [*llm.Error] naming the field at fault.
func DecodeCompletion(body []byte) (*CompletionRequest, error) {
	r := new(CompletionRequest)
	if err := decode(body, completionTable, r); err != nil {
		return nil, err
	}
	return r, r.check()
}

// ModelName gives the model asked for, "" if none is.
func (s *Sampling) ModelName() string { return s.Model }

// Streaming tells whether the answer is to be a stream.
func (s *Sampling) Streaming() bool { return s.Stream }

// Interval gives how many tokens a chunk of the stream is to have, 0 if the
// request does not say.
func (s *Sampling) Interval() int {
	if s.StreamInterval == nil {
		return 0
	}
	return *s.StreamInterval
}

// Deadlines gives how long the request says it may take.
func (s *Sampling) Deadlines() llm.Deadlines {
	seconds := func(f *float64) time.Duration {
		if f == nil {
			return 0
		}
		return max(1, time.Duration(*f*float64(time.Second))) // so little is not none
	}
	return llm.Deadlines{Queue: seconds(s.QueueTimeout), FirstToken: seconds(s.FirstTokenTimeout), Total: seconds(s.Timeout)}
}

func (s *Sampling) includeUsage() bool {
	return s.StreamOptions != nil && s.StreamOptions.IncludeUsage
}

func (s *Sampling) continuousUsage() bool {
	return s.includeUsage() && s.StreamOptions.ContinuousUsage
}

// choices is how many choices the response of one prompt has.
func (s *Sampling) choices() int {
	if s.N == nil {
		return 1
	}
	return *s.N
}

// check refuses combinations of fields that are fine by themselves.
func (s *Sampling) check() error {
	if s.StreamOptions != nil && !s.Stream {
		return value{path: "stream_options"}.invalid("only a stream has options: set stream to true, or leave it out")
	}
	if s.PromptLogprobs != nil && s.Stream {
		return value{path: "prompt_logprobs"}.unsupported("a stream has no place for them; set stream to false")
	}
	if s.BestOf != nil {
		best := value{path: "best_of"}
		if *s.BestOf < s.choices() {
			return best.invalid("%d is less than n, which is %d", *s.BestOf, s.choices())
		}
		if *s.BestOf > s.choices() && s.Stream {
			return best.unsupported("the best are known only at the end, too late for a stream; set stream to false")
		}
	}
	return nil
}

func (r *ChatRequest) check() error {
	if err := r.Sampling.check(); err != nil {
		return err
	}
	if err := r.Conversation.check(); err != nil {
		return err
	}
	if a, b := r.MaxTokens, r.MaxCompletionTokens; a != nil && b != nil && *a != *b {
		return value{path: "max_tokens"}.invalid("%d contradicts max_completion_tokens, which is %d: give one of them", *a, *b)
	}
	if r.TopLogprobs != nil && *r.TopLogprobs > 0 && !r.Logprobs {
		return value{path: "top_logprobs"}.invalid("needs logprobs set to true")
	}
	return r.checkTools()
}

func (c *Conversation) check() error {
	if c.Messages == nil {
		return missing("messages")
	}
	if c.ContinueFinal && c.AddGeneration != nil && *c.AddGeneration {
		return value{path: "continue_final_message"}.invalid("cannot go with add_generation_prompt: a turn is either continued or opened")
	}
	return nil
}

func (r *CompletionRequest) check() error {
	if err := r.Sampling.check(); err != nil {
		return err
	}
	if r.Prompt == nil {
		return missing("prompt")
	}
	if *r.maxTokens() == 0 && !r.Echo {
		return value{path: "max_tokens"}.invalid("0 asks for nothing unless echo is true")
	}
	return nil
}

func missing(name string) error {
	v := value{path: name}
	return v.fault("missing_required_parameter", "missing: the request needs it")
}

func (r *ChatRequest) maxTokens() *int {
	if r.MaxCompletionTokens != nil {
		return r.MaxCompletionTokens
	}
	return r.MaxTokens
}

func (r *CompletionRequest) maxTokens() *int {
	if r.MaxTokens != nil {
		return r.MaxTokens
	}
	n := completionTokens
	return &n
}

// Requests gives what the request asks of model m: one llm.Request, without an
// ID. The error is an [*llm.Error].
func (r *ChatRequest) Requests(m llm.Model) ([]*llm.Request, error) {
	if !m.Chat && r.Template == "" {
		return nil, noTemplate(m)
	}
	p := r.params(m)
	if n := r.maxTokens(); n != nil {
		p.MaxTokens = n
	}
	if r.Logprobs {
		p.Logprobs = new(int)
		if r.TopLogprobs != nil {
			p.Logprobs = r.TopLogprobs
		}
	}
	if err := checkParams(&p, m, "top_logprobs"); err != nil {
		return nil, err
	}
	chat := r.Chat()
	chat.AddSpecialToken = r.AddSpecialTokens != nil && *r.AddSpecialTokens
	return []*llm.Request{{Model: m.ID, Prompt: chat, Params: p, Reading: r.reading(), Priority: r.Priority, CacheSalt: r.CacheSalt, ExplainCache: r.ExplainCache}}, nil
}

func noTemplate(m llm.Model) error {
	v := value{path: "messages"}
	return v.fault("unsupported_parameter", "model %q has no chat template: "+
		"send a prompt to /v1/completions, or a chat_template with the request", m.ID)
}

// Chat gives the conversation in llm's terms.
func (c *Conversation) Chat() *llm.Chat {
	return &llm.Chat{
		Messages:      c.Messages,
		Tools:         c.Tools,
		Documents:     c.Documents,
		Kwargs:        c.kwargs(),
		Template:      c.Template,
		NoGeneration:  c.ContinueFinal || (c.AddGeneration != nil && !*c.AddGeneration),
		ContinueFinal: c.ContinueFinal,
	}
}

// kwargs adds to the template's variables those that reasoning_effort stands
// for. Templates know it by one of two names: gpt-oss and its kin by its own,
// Qwen3 and most others as the switch enable_thinking.
func (c *Conversation) kwargs() map[string]json.RawMessage {
	if c.ReasoningEffort == "" {
		return c.Kwargs
	}
	effort, _ := json.Marshal(c.ReasoningEffort) // a string always marshals
	thinking := "true"
	if c.ReasoningEffort == "none" {
		thinking = "false"
	}
	all := map[string]json.RawMessage{"reasoning_effort": effort, "enable_thinking": json.RawMessage(thinking)}
	for k, v := range c.Kwargs { // what was given by its own name wins
		all[k] = v
	}
	return all
}

// Requests gives what the request asks of model m: an llm.Request for each
// prompt, in order, without IDs. The error is an [*llm.Error].
func (r *CompletionRequest) Requests(m llm.Model) ([]*llm.Request, error) {
	p := r.params(m)
	p.MaxTokens = r.maxTokens()
	p.Logprobs = r.Logprobs
	p.Echo = r.Echo
	if err := checkParams(&p, m, "logprobs"); err != nil {
		return nil, err
	}
	if *p.MaxTokens == 0 {
		one := 1 // asked takes it out again
		p.MaxTokens = &one
	}
	if r.Echo && r.Logprobs != nil && (p.PromptLogprobs == nil || *p.PromptLogprobs < *r.Logprobs) {
		p.PromptLogprobs = r.Logprobs // the echoed tokens have theirs, too
	}
	o := llm.TokenizeOptions{NoSpecial: r.AddSpecialTokens != nil && !*r.AddSpecialTokens}
	list := make([]*llm.Request, len(r.Prompt))
	for i, prompt := range r.Prompt {
		if err := checkIDs(prompt, m, i, len(r.Prompt)); err != nil {
			return nil, err
		}
		list[i] = &llm.Request{Model: m.ID, Prompt: prompt, Params: p, Priority: r.Priority, CacheSalt: r.CacheSalt, ExplainCache: r.ExplainCache, Tokenize: o}
	}
	return list, nil
}

// asked gives an event as the client asked for it. With max_tokens 0 the prompt
// alone counts, but a generator computes no fewer than one token: it goes.
func (r *CompletionRequest) asked(e *llm.Event) *llm.Event {
	if *r.maxTokens() > 0 {
		return e
	}
	only := llm.Event{Choice: e.Choice, Prompt: e.Prompt}
	if e.Finish != llm.FinishNone {
		only.Finish = llm.FinishLength
	}
	if e.Usage != nil {
		only.Usage = &llm.Usage{PromptTokens: e.Usage.PromptTokens, CachedTokens: e.Usage.CachedTokens}
	}
	return &only
}

// params lays what was given over the model's defaults.
func (s *Sampling) params(m llm.Model) llm.Params {
	p := llm.DefaultParams()
	if m.Defaults != nil {
		p = *m.Defaults
	}
	set(&p.MinTokens, s.MinTokens)
	set(&p.Temperature, s.Temperature)
	set(&p.TopP, s.TopP)
	set(&p.TopK, s.TopK)
	p.TopK = max(p.TopK, 0) // vLLM's -1 is off, too
	set(&p.MinP, s.MinP)
	set(&p.TypicalP, s.TypicalP)
	set(&p.RepetitionPenalty, s.RepetitionPenalty)
	set(&p.FrequencyPenalty, s.FrequencyPenalty)
	set(&p.PresencePenalty, s.PresencePenalty)
	if s.LogitBias != nil {
		p.LogitBias = s.LogitBias
	}
	if s.Seed != nil {
		seed := uint64(*s.Seed)
		p.Seed = &seed
	}
	p.Stop = append(p.Stop[:len(p.Stop):len(p.Stop)], s.Stop...)
	p.StopTokens = append(p.StopTokens[:len(p.StopTokens):len(p.StopTokens)], s.StopTokenIDs...)
	p.IncludeStop = s.IncludeStop
	p.IgnoreEOS = s.IgnoreEOS
	if s.SkipSpecialTokens != nil {
		p.KeepSpecial = !*s.SkipSpecialTokens
	}
	p.N = s.choices()
	p.BestOf = p.N
	set(&p.BestOf, s.BestOf)
	p.PromptLogprobs = s.PromptLogprobs
	p.Structure = s.structure
	return p
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// checkParams refuses what model m cannot do. logprobs is the name of the field
// that Params.Logprobs came from.
func checkParams(p *llm.Params, m llm.Model, logprobs string) error {
	if p.MaxTokens != nil && p.MinTokens > *p.MaxTokens {
		return value{path: "min_tokens"}.invalid("%d is more than the maximum, which is %d", p.MinTokens, *p.MaxTokens)
	}
	for _, c := range []struct {
		path string
		n    *int
	}{{logprobs, p.Logprobs}, {"prompt_logprobs", p.PromptLogprobs}} {
		if c.n != nil && *c.n > m.MaxTopLP {
			return value{path: c.path}.invalid("%d is more than the %d that are kept for each token", *c.n, m.MaxTopLP)
		}
	}
	for id := range p.LogitBias {
		if int(id) >= m.Vocab {
			return value{path: "logit_bias"}.invalid("token %d is outside the vocabulary of %d", id, m.Vocab)
		}
	}
	for _, id := range p.StopTokens {
		if int(id) >= m.Vocab {
			return value{path: "stop_token_ids"}.invalid("token %d is outside the vocabulary of %d", id, m.Vocab)
		}
	}
	return nil
}

// checkIDs refuses a prompt, the i-th of n, with ids that the model has not.
func checkIDs(p llm.Prompt, m llm.Model, i, n int) error {
	ids, ok := p.(llm.Tokens)
	if !ok {
		return nil
	}
	for j, id := range ids {
		if int(id) >= m.Vocab {
			v := value{path: "prompt"}
			if n > 1 {
				v = v.element(i, nil)
			}
			return v.element(j, nil).invalid("token %d is outside the vocabulary of %d", id, m.Vocab)
		}
	}
	return nil
}

// maxInt bounds counts, so that they fit an int everywhere.
const maxInt = math.MaxInt32
