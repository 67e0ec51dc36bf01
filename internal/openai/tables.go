package openai

// ChatFields lists the fields of a chat completion request.
func ChatFields() []Field { return chatTable.fields() }

// CompletionFields lists the fields of a text completion request.
func CompletionFields() []Field { return completionTable.fields() }

var samplingFields = []entry[Sampling]{
	text("model", "One of `/v1/models`. May be left out while one model is served.", func(r *Sampling) *string { return &r.Model }),
	toggle("stream", "Server-sent events instead of one response.", func(r *Sampling) *bool { return &r.Stream }),
	custom("stream_options", "`include_usage`; `continuous_usage_stats` as in vLLM: usage so far of its choice in every chunk; `include_obfuscation` only as false.", readStreamOptions),
	number("temperature", interval{lo: 0, hi: 100}, "0 is greedy. Default: the model's, or 1.", func(r *Sampling) **float64 { return &r.Temperature }),
	number("top_p", interval{lo: 0, hi: 1, openLo: true}, "1 is off. Default: the model's, or 1.", func(r *Sampling) **float64 { return &r.TopP }),
	number("frequency_penalty", interval{lo: -2, hi: 2}, "Over the output. Default 0.", func(r *Sampling) **float64 { return &r.FrequencyPenalty }),
	number("presence_penalty", interval{lo: -2, hi: 2}, "Over the output. Default 0.", func(r *Sampling) **float64 { return &r.PresencePenalty }),
	custom("logit_bias", "Token ids to numbers in [-100, 100], at most 1024.", readBias),
	custom("seed", "64-bit integer. The same seed repeats the same output whatever else runs. Default: a fresh one.", readSeed),
	custom("stop", "String, or up to 16 strings of 1 to 1024 bytes. The output ends before the first that appears.", readStop),
	custom("response_format", "`{\"type\":\"text\"}`, `{\"type\":\"json_object\"}`, or `{\"type\":\"json_schema\",\"json_schema\":{\"name\":…,\"schema\":…,\"strict\":…}}`: the output is then a document of the schema, strict or not. See [structured output](structured-output.md).", readResponseFormat),
	count("n", 1, MaxChoices, "Choices to return. Default 1.", func(r *Sampling) **int { return &r.N }),
}

// seconds are those of a deadline: up to a day.
var seconds = interval{lo: 0, hi: 86400, openLo: true}

var vllmFields = []entry[Sampling]{
	count("best_of", 1, MaxChoices, "Choices to compute; the n most probable are returned. At least n; more than n not with `stream`.", func(r *Sampling) **int { return &r.BestOf }),
	count("top_k", -1, maxInt, "0 and -1 are off. Default: the model's, or off.", func(r *Sampling) **int { return &r.TopK }),
	number("min_p", interval{lo: 0, hi: 1}, "0 is off. Default: the model's, or 0.", func(r *Sampling) **float64 { return &r.MinP }),
	number("typical_p", interval{lo: 0, hi: 1, openLo: true}, "1 is off.", func(r *Sampling) **float64 { return &r.TypicalP }),
	number("repetition_penalty", interval{lo: 0, hi: 100, openLo: true}, "Over prompt and output. 1 is off. Default: the model's, or 1.", func(r *Sampling) **float64 { return &r.RepetitionPenalty }),
	count("min_tokens", 0, maxInt, "No end and no stop before so many tokens. Default 0.", func(r *Sampling) **int { return &r.MinTokens }),
	toggle("ignore_eos", "Do not end at the model's own end tokens.", func(r *Sampling) *bool { return &r.IgnoreEOS }),
	custom("stop_token_ids", "Ids that end the output, at most 1024.", readStopTokens),
	toggle("include_stop_str_in_output", "Leave the stop string in the text.", func(r *Sampling) *bool { return &r.IncludeStop }),
	optionalToggle("skip_special_tokens", "false shows special tokens in the text. Default true.", func(r *Sampling) **bool { return &r.SkipSpecialTokens }),
	count("prompt_logprobs", 0, maxInt, "Log probabilities of the prompt's tokens, in vLLM's shape, at most what the model keeps (20). Not with `stream`.", func(r *Sampling) **int { return &r.PromptLogprobs }),
	toggle("return_token_ids", "Adds `token_ids` to choices, and `prompt_token_ids` (chat: to the response and the first chunk; completions: to each choice and its first chunk).", func(r *Sampling) *bool { return &r.ReturnTokenIDs }),
	toggle("return_tokens_as_token_ids", "Tokens in logprobs are written `token_id:123`.", func(r *Sampling) *bool { return &r.TokensAsTokenIDs }),
	custom("cache_salt", "Up to 1024 bytes. Requests share cached prefixes only with those of the same salt.", func(r *Sampling, v value) (err error) {
		r.CacheSalt, err = v.salt()
		return err
	}),
	toggle("explain_cache", "weir: adds `cache`, which says [why the prompt was not cached](#why-a-prompt-was-not-cached) (chat: to the response and the first chunk; completions: to each choice and its first chunk).", func(r *Sampling) *bool { return &r.ExplainCache }),
	custom("structured_outputs", "What the output must be: an object with one of `json` (a schema), `json_object` (true), `regex`, `choice` (an array of strings) or `grammar` (GBNF, or Lark's EBNF). See [structured output](structured-output.md).", readStructured),
	custom("guided_json", "vLLM's older name of `structured_outputs.json`.", readGuidedJSON),
	custom("guided_regex", "vLLM's older name of `structured_outputs.regex`.", readGuidedRegex),
	custom("guided_choice", "vLLM's older name of `structured_outputs.choice`.", readGuidedChoice),
	custom("guided_grammar", "vLLM's older name of `structured_outputs.grammar`.", readGuidedGrammar),
	count("stream_interval", 1, 1024, "vLLM: tokens of a choice in a chunk of the stream, but for the first and the last. Default: the server's, or 1.", func(r *Sampling) **int { return &r.StreamInterval }),
	number("timeout", seconds, "Seconds from the request's arrival to the end of the answer; then 504, or an error in the stream. The server's limit, if it is shorter, counts.", func(r *Sampling) **float64 { return &r.Timeout }),
	number("queue_timeout", seconds, "Seconds until its computation begins.", func(r *Sampling) **float64 { return &r.QueueTimeout }),
	number("first_token_timeout", seconds, "Seconds until the first token.", func(r *Sampling) **float64 { return &r.FirstTokenTimeout }),
	custom("priority", "32-bit integer, lower is served sooner. Default 0.", readPriority),
}

// neutralFields never change what a model answers.
var neutralFields = []entry[Sampling]{
	accepted[Sampling]("user", "a string", "An end user's name, for the caller's own records."),
	accepted[Sampling]("guided_decoding_backend", "a string", "vLLM: weir has one."),
	accepted[Sampling]("session_id", "a string", "vLLM: a hint for routing."),
	limited[Sampling]("length_penalty", "only beam search uses it, which weir does not have; leave it out", "1", "1.0"),
	limited[Sampling]("use_beam_search", "weir has no beam search; leave it out", "false"),
	limited[Sampling]("spaces_between_special_tokens", "text is written as the model's vocabulary has it; leave it out", "true"),
}

// foreignFields would change the output, and weir does not have them.
var foreignFields = concat(
	rejected[Sampling]("white space in JSON is always possible, and always bounded", "guided_whitespace_pattern"),
	rejected[Sampling]("use logit_bias or stop", "logits_processors", "allowed_token_ids", "bad_words"),
	rejected[Sampling]("ask for the most probable with logprobs", "logprob_token_ids"),
	rejected[Sampling]("weir never cuts a prompt: send one that fits", "truncate_prompt_tokens", "truncation_side"),
	rejected[Sampling]("weir bounds no thinking; set max_completion_tokens", "thinking_token_budget"),
	rejected[Sampling]("use repetition_penalty", "repetition_detection"),
	rejected[Sampling]("send the header X-Request-Id", "request_id"),
	rejected[Sampling]("it belongs to vLLM's own parts", "watermarking", "kv_transfer_params", "ec_transfer_params", "vllm_xargs",
		"routed_experts_prompt_start", "return_token_offsets"),
)

var conversationFields = []entry[Conversation]{
	custom("messages", "Objects with `role` and `content`: a string, or parts of type `text`. Other parts (`image_url`, `input_audio`, `file`, …): 400. Everything in a message reaches the chat template. Where the template wants it so, parts are joined with a newline and the JSON text of `tool_calls[].function.arguments` becomes an object.",
		func(c *Conversation, v value) (err error) {
			c.Messages, err = v.messages()
			return err
		}),
	custom("tools", "Up to 128 functions with names of their own. They reach the chat template; a template that knows none gets them in a message. Calls are read out of a chat's answer: [tools](tools.md).",
		func(c *Conversation, v value) (err error) {
			c.Tools, err = v.list("leave it out or fill it")
			return err
		}),
	custom("documents", "Objects, for templates that use them.", func(c *Conversation, v value) (err error) {
		c.Documents, err = v.list("leave it out or fill it")
		return err
	}),
	text("chat_template", "A Jinja template instead of the model's own.", func(c *Conversation) *string { return &c.Template }),
	custom("chat_template_kwargs", "Further variables for the template.", readKwargs),
	text("reasoning_effort", "Reaches the template as `reasoning_effort`, and as `enable_thinking` (false for `none`), unless `chat_template_kwargs` has them. Templates that know neither do as always.", func(c *Conversation) *string { return &c.ReasoningEffort }),
	optionalToggle("add_generation_prompt", "Open the assistant's turn. Default true.", func(c *Conversation) **bool { return &c.AddGeneration }),
	toggle("continue_final_message", "Continue the last message instead of opening a turn.", func(c *Conversation) *bool { return &c.ContinueFinal }),
}

var chatFields = []entry[ChatRequest]{
	count("max_completion_tokens", 1, maxInt, "Default: up to the context. More than is left of the context ends there, with `finish_reason` `length`.", func(r *ChatRequest) **int { return &r.MaxCompletionTokens }),
	count("max_tokens", 1, maxInt, "The old name of `max_completion_tokens`; both must agree.", func(r *ChatRequest) **int { return &r.MaxTokens }),
	toggle("logprobs", "Log probabilities of the output's tokens.", func(r *ChatRequest) *bool { return &r.Logprobs }),
	count("top_logprobs", 0, maxInt, "Alternatives for each token, at most what the model keeps (20). Needs `logprobs`.", func(r *ChatRequest) **int { return &r.TopLogprobs }),
	custom("tool_choice", "`\"auto\"` (the default with `tools`): the model decides; `\"required\"`: it calls one at least; `{\"type\": \"function\", \"function\": {\"name\": …}}`: it calls this one; `\"none\"`: it sees the tools, and its answer is text.", readToolChoice),
	optionalToggle("parallel_tool_calls", "false ends the answer after a call. Default true.", func(r *ChatRequest) **bool { return &r.ParallelToolCalls }),
	optionalToggle("include_reasoning", "false leaves `reasoning_content` out of the response. Default true.", func(r *ChatRequest) **bool { return &r.IncludeReasoning }),
	optionalToggle("add_special_tokens", "Let the tokeniser add its own (BOS) besides what the template wrote. Default false.", func(r *ChatRequest) **bool { return &r.AddSpecialTokens }),
	toggle("echo", "vLLM: put the last message before the answer if it is of the answer's role.", func(r *ChatRequest) *bool { return &r.Echo }),
}

var chatNeutral = []entry[ChatRequest]{
	accepted[ChatRequest]("metadata", "an object", "For the caller's own records; weir keeps none."),
	accepted[ChatRequest]("service_tier", "a string", "There is one tier."),
	accepted[ChatRequest]("safety_identifier", "a string", "For the caller's own records."),
	accepted[ChatRequest]("prompt_cache_key", "a string", "A hint for caches."),
	accepted[ChatRequest]("prompt_cache_retention", "a string", "A hint for caches."),
	accepted[ChatRequest]("prompt_cache_options", "an object", "A hint for caches."),
	limited[ChatRequest]("store", "weir stores nothing; leave it out", "false"),
	limited[ChatRequest]("modalities", "weir answers in text alone; leave it out", `["text"]`),
	limited[ChatRequest]("verbosity", "no template knows it; say it in a message", `"medium"`),
	limited[ChatRequest]("return_prompt_text", "POST the messages to /apply-template", "false"),
}

var chatForeign = concat(
	rejected[ChatRequest]("functions were replaced by tools", "functions", "function_call"),
	rejected[ChatRequest]("weir answers in text alone", "audio", "media_io_kwargs", "mm_processor_kwargs"),
	rejected[ChatRequest]("weir takes no predicted output; leave it out", "prediction"),
	rejected[ChatRequest]("weir does not search the web", "web_search_options"),
	rejected[ChatRequest]("weir does not moderate", "moderation"),
)

var completionFields = []entry[CompletionRequest]{
	custom("prompt", "String, up to 1024 strings, token ids, or up to 1024 arrays of token ids. A choice's index is the prompt's times n, plus its own.",
		func(r *CompletionRequest, v value) (err error) {
			r.Prompt, err = v.prompts()
			return err
		}),
	count("max_tokens", 0, maxInt, "Default 16. 0 only with `echo`: the prompt and its log probabilities. More than is left of the context ends there, with `finish_reason` `length`.", func(r *CompletionRequest) **int { return &r.MaxTokens }),
	count("logprobs", 0, maxInt, "Alternatives for each token, at most what the model keeps (20).", func(r *CompletionRequest) **int { return &r.Logprobs }),
	toggle("echo", "Put the prompt before the output, in `logprobs` too.", func(r *CompletionRequest) *bool { return &r.Echo }),
	optionalToggle("add_special_tokens", "Let the tokeniser add its own (BOS) to a prompt given as text. Default true.", func(r *CompletionRequest) **bool { return &r.AddSpecialTokens }),
}

var completionForeign = concat(
	rejected[CompletionRequest]("weir does not fill in the middle; leave it out", "suffix"),
	rejected[CompletionRequest]("send text or token ids", "prompt_embeds"),
)

var chatTable = newTable(
	lift(conversationFields, func(r *ChatRequest) *Conversation { return &r.Conversation }),
	lift(samplingFields, chatSampling), chatFields, lift(vllmFields, chatSampling),
	chatNeutral, lift(neutralFields, chatSampling),
	chatForeign, lift(foreignFields, chatSampling))

var completionTable = newTable(
	completionFields, lift(samplingFields, completionSampling), lift(vllmFields, completionSampling),
	lift(neutralFields, completionSampling),
	completionForeign, lift(foreignFields, completionSampling))

func chatSampling(r *ChatRequest) *Sampling             { return &r.Sampling }
func completionSampling(r *CompletionRequest) *Sampling { return &r.Sampling }

func concat[T any](lists ...[]T) []T {
	var all []T
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
