package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"weir/internal/chat"
)

type templateCmd struct {
	File  string `arg:"" help:"Jinja file: a chat template."`
	Input string `arg:"" help:"JSON file: an object with messages and, as needed, tools, documents, add_generation_prompt, bos_token, eos_token and further variables."`
	Now   string `help:"What strftime_now shows, such as 2024-07-26T09:30:00 (default: the present)." placeholder:"TIME"`
}

// Help is printed by kong below the command's summary.
func (*templateCmd) Help() string {
	return `The rendered text goes to standard output, exactly. A template's own refusal (raise_exception) is exit code 1, a template or an input that is wrong is 2.

    echo '{"messages": [{"role": "user", "content": "Hi"}]}' > input.json
    weir template chat_template.jinja input.json`
}

// Run renders the template. The template's own refusal (raise_exception) is
// exit code 1; a wrong template, input or option is 2.
func (c *templateCmd) Run(io streams) error {
	now, err := parseNow(c.Now)
	if err != nil {
		return codedError{err, exitUsage}
	}
	source, err := os.ReadFile(c.File)
	if err != nil {
		return codedError{fmt.Errorf("reading the template: %w", err), exitUsage}
	}
	input, err := os.ReadFile(c.Input)
	if err != nil {
		return codedError{fmt.Errorf("reading the input: %w", err), exitUsage}
	}
	text, err := chat.RenderCase(string(source), input, now)
	var raised *chat.RaisedError
	switch {
	case errors.As(err, &raised):
		return codedError{fmt.Errorf("%s: the template refused: %w", c.File, err), exitError}
	case err != nil:
		return codedError{c.blame(err), exitUsage}
	}
	if _, err = fmt.Fprint(io.out, text); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// blame names the file that an error is about.
func (c *templateCmd) blame(err error) error {
	if about, ok := strings.CutPrefix(err.Error(), "input: "); ok {
		return fmt.Errorf("%s: %s", c.Input, about)
	}
	return fmt.Errorf("%s: %w", c.File, err)
}

func parseNow(s string) (time.Time, error) {
	if s == "" {
		return time.Now(), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--now %q is not a time; write it like 2024-07-26T09:30:00", s)
}
