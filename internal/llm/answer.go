package llm

// ToolChoice says whether a model calls tools.
type ToolChoice string

// The choices. The zero value is ToolsNone.
const (
	ToolsNone     ToolChoice = ""         // calls are text
	ToolsAuto     ToolChoice = "auto"     // the model decides
	ToolsRequired ToolChoice = "required" // it calls one at least
)

// Reading says how the answer to a Chat is read. The zero value takes it as text.
type Reading struct {
	Thinking bool // tell thinking from the rest
	Tools    ToolChoice
	Tool     string // the one that may be called; "": any of the Chat's
	OneCall  bool   // end after a call
}

// CallDelta is a piece of a tool call. Those of one call come in order, and calls
// one after the other.
type CallDelta struct {
	Call int    // which of the choice's calls, counted from 0
	ID   string // with Name: this is the call's first piece
	Name string
	Args string // more of the arguments, which are JSON
}
