package chat

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func benchmarkRender(b *testing.B, source string, in Input) {
	tmpl := mustParse(b, source)
	out, err := tmpl.Render(in)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(out)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tmpl.Render(in); err != nil {
			b.Fatal(err)
		}
	}
}

func conversation(turns, bytes int) Input {
	var list []string
	for i := range turns {
		list = append(list, fmt.Sprintf(`{"role":%q,"content":%q}`, []string{"user", "assistant"}[i%2], strings.Repeat("lorem ipsum ", bytes/12)))
	}
	return Input{Messages: raw("[" + strings.Join(list, ",") + "]"), AddGenerationPrompt: true, BOSToken: "<s>", EOSToken: "</s>", OpenAI: true}
}

// BenchmarkChat renders an ordinary conversation of ten messages.
func BenchmarkChat(b *testing.B) { benchmarkRender(b, chatML, conversation(10, 240)) }

// BenchmarkMessages shows that the time is linear in the number of messages.
func BenchmarkMessages(b *testing.B) {
	for _, turns := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(turns), func(b *testing.B) { benchmarkRender(b, chatML, conversation(turns, 240)) })
	}
}

// BenchmarkShared renders the conversation with real templates.
func BenchmarkShared(b *testing.B) {
	dir := filepath.Join(sharedDir(b), "templates")
	for _, name := range []string{"Qwen-Qwen3-0.6B", "meta-llama-Llama-3.1-8B-Instruct", "openai-gpt-oss-120b"} {
		source, err := os.ReadFile(filepath.Join(dir, name+".jinja"))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) { benchmarkRender(b, string(source), conversation(10, 240)) })
	}
}

func BenchmarkParse(b *testing.B) {
	source, err := os.ReadFile(filepath.Join(sharedDir(b), "templates", "openai-gpt-oss-120b.jinja"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Parse(string(source)); err != nil {
			b.Fatal(err)
		}
	}
}
