package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"weir/internal/builtin"
	"weir/internal/model/modeltest"
	"weir/internal/weights"
)

var update = flag.Bool("update", false, "write the transcripts of testdata/*.txtar anew")

// asWeir makes the test binary behave as weir, for the tests that need a
// process of their own.
const asWeir = "TEST_AS_WEIR=1"

func TestMain(m *testing.M) {
	if slices.Contains(os.Environ(), asWeir) {
		main()
	}
	os.Exit(m.Run())
}

// nowhere is the environment of a user without a file of options.
func nowhere(t testing.TB) []string {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir) // where os.UserConfigDir looks on Linux,
	t.Setenv("HOME", dir)            // on macOS,
	t.Setenv("AppData", dir)         // and on Windows
	return nil
}

type result struct {
	code     int
	out, err string
}

// weir runs a command line in this process.
func weir(t testing.TB, stdin string, env []string, args ...string) result {
	t.Helper()
	nowhere(t)
	var out, err bytes.Buffer
	code := run(args, streams{in: strings.NewReader(stdin), out: &out, err: &err, signals: make(chan os.Signal)}, env)
	return result{code, out.String(), err.String()}
}

// TestScripts runs the commands of testdata/*.txtar in a folder with the
// archive's files and some models, and compares what they print with the
// transcript at the archive's end.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range scripts {
		path, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) { runScript(t, path) })
	}
}

func runScript(t *testing.T, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == "transcript" })
	if at < 0 {
		t.Fatal("no file transcript in the archive")
	}
	t.Chdir(scriptFolder(t, archive))
	var got strings.Builder
	for _, line := range strings.Split(string(archive.Comment), "\n") {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			fmt.Fprintf(&got, "$ %s\n%s", command, runLine(t, command))
		}
	}
	if *update {
		archive.Files[at].Data = []byte(got.String())
		if err := os.WriteFile(path, txtar.Format(archive), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := string(archive.Files[at].Data); got.String() != want {
		t.Errorf("go test -update writes it anew; the transcript differs:\n%s", firstDifference(want, got.String()))
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	return fmt.Sprintf("line %d\nwant %q\ngot  %q", i+1, w[min(i, len(w)-1)], g[min(i, len(g)-1)])
}

// scriptFolder is a new folder with the script's files and the models that all
// scripts can use.
func scriptFolder(t *testing.T, a *txtar.Archive) string {
	dir := t.TempDir()
	write := func(name string, data []byte) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := firstError(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, data, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range a.Files {
		write(f.Name, f.Data)
	}
	small := smallGGUF(t)
	write("small.gguf", small)
	write("cut-in-tensors.gguf", small[:len(small)-5000])
	write("cut-in-header.gguf", small[:700])
	write("empty.gguf", nil)
	write("empty/readme", nil)
	write("unknown.gguf", bytes.Replace(small, []byte("\x05\x00\x00\x00\x00\x00\x00\x00llama"), []byte("\x05\x00\x00\x00\x00\x00\x00\x00mamba"), 1))
	if err := os.Mkdir(filepath.Join(dir, "checkpoint"), 0o777); err != nil {
		t.Fatal(err)
	}
	writeCheckpoint(t, filepath.Join(dir, "checkpoint"))
	return dir
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// smallConfig is a model of random weights.
func smallConfig() map[string]any {
	return map[string]any{
		"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320, "max_position_embeddings": 512,
		"rms_norm_eps": 1e-5, "rope_theta": 10000.0,
	}
}

func smallGGUF(t testing.TB) []byte {
	data, err := modeltest.New("small", smallConfig()).GGUF(weights.Q8_0)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// writeCheckpoint writes a model as Hugging Face has it, with a tokeniser of
// bytes and a chat template.
func writeCheckpoint(t testing.TB, dir string) {
	if err := modeltest.New("small-checkpoint", smallConfig()).WriteHF(dir); err != nil {
		t.Fatal(err)
	}
	vocab, next := map[string]int{}, rune(256)
	for b := range 256 {
		r := rune(b) // GPT-2's names for bytes
		if !(b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE) {
			r, next = next, next+1
		}
		vocab[string(r)] = b
	}
	files := map[string]any{
		"tokenizer.json": map[string]any{
			"model":         map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{}},
			"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
			"decoder":       map[string]any{"type": "ByteLevel"},
			"added_tokens":  []any{map[string]any{"id": 256, "content": "<end>", "special": true}},
		},
		"tokenizer_config.json": map[string]any{
			"eos_token":     "<end>",
			"chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:",
		},
		"generation_config.json": map[string]any{"temperature": 0.6, "top_p": 0.95, "top_k": 20, "eos_token_id": 256},
	}
	for name, content := range files {
		data, err := json.Marshal(content)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// runLine runs "NAME=value weir args < file", where all but weir and args may be
// missing. What goes to standard error is marked with "! ".
func runLine(t *testing.T, line string) string {
	words := splitWords(line)
	var env []string
	for len(words) > 0 && strings.Contains(words[0], "=") {
		env, words = append(env, words[0]), words[1:]
	}
	if len(words) == 0 || words[0] != "weir" {
		t.Fatalf("%q is not a command of weir", line)
	}
	stdin := ""
	if n := len(words); n > 2 && words[n-2] == "<" {
		data, err := os.ReadFile(words[n-1])
		if err != nil {
			t.Fatal(err)
		}
		stdin, words = string(data), words[:n-2]
	}
	r := weir(t, stdin, env, words[1:]...)
	text := mask(r.out)
	for _, l := range strings.SplitAfter(mask(r.err), "\n") {
		if l != "" {
			text += "! " + l
		}
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n[no end of line]\n"
	}
	if r.code != exitOK {
		text += fmt.Sprintf("[exit %d]\n", r.code)
	}
	return text
}

// splitWords splits at spaces; single quotes hold words together.
func splitWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// masks hide what differs between machines and runs.
var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`[0-9.]+ [KMGT]iB available \([^)]*\)`), "MACHINE"},
	{regexp.MustCompile(`[0-9.]+ [KMGT]iB at most`), "ALL at most"},
	{regexp.MustCompile(`[0-9.]+ [KMGT]iB(, +| +)(\d+% of MACHINE)`), "SHARE$1$2"},
	{regexp.MustCompile(`[0-9.]+ tokens/s`), "N tokens/s"},
	{regexp.MustCompile(`after [0-9.]+ s`), "after N s"},
	{regexp.MustCompile(`weir \S+ go\S+ \S+/\S+`), "weir VERSION"},
}

func mask(s string) string {
	for _, m := range masks {
		s = m.pattern.ReplaceAllString(s, m.with)
	}
	return s
}

// full is a disk that has no room left.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, fmt.Errorf("no space left on device") }

// TestOutputIsChecked: what can't be printed is an error, or a script would go on
// with half an answer.
func TestOutputIsChecked(t *testing.T) {
	dir := t.TempDir()
	template, input := filepath.Join(dir, "t"), filepath.Join(dir, "i")
	if err := firstError(os.WriteFile(template, []byte("text"), 0o666), os.WriteFile(input, []byte("{}"), 0o666)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"version"}, {"show"}, {"show", "--template"}, {"template", template, input}, {"run", "-p", "hi", "--max-tokens", "2"}} {
		var err bytes.Buffer
		code := run(args, streams{in: strings.NewReader(""), out: full{}, err: &err}, nowhere(t))
		if code != exitError || !strings.Contains(err.String(), "no space left on device") {
			t.Errorf("%v: exit %d, %s", args, code, err.String())
		}
	}
}

// TestShowBuiltIn: whatever becomes of the built-in model, a newcomer's first
// look at it has all the lines.
func TestShowBuiltIn(t *testing.T) {
	r := weir(t, "", nil, "show")
	for _, want := range []string{"model", "format       GGUF, embedded in weir", "family       llama", "sampling", "within it"} {
		if !strings.Contains(r.out, "\n"+want) && !strings.HasPrefix(r.out, want) {
			t.Errorf("no line %q in\n%s", want, r.out)
		}
	}
	for line := range strings.Lines(r.out) {
		if runtime.GOOS == "linux" && len(line) > 161 {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
	}
	r = weir(t, "", nil, "show", "--template")
	if r.code != exitOK || !strings.Contains(r.out, "messages") {
		t.Errorf("show --template: %+v", r)
	}
}

// TestHelpWidth: at 80 columns, what the README's reader sees.
func TestHelpWidth(t *testing.T) {
	for _, verb := range []string{"", "serve", "run", "show", "bench engine", "template", "version"} {
		r := weir(t, "", nil, append(strings.Fields(verb), "--help")...)
		if r.code != exitOK || r.err != "" || len(r.out) < 200 {
			t.Errorf("%s --help: %+v", verb, r)
		}
		for line := range strings.Lines(r.out) {
			if len(line) > 81 {
				t.Errorf("%s --help: %d columns: %s", verb, len(line), line)
			}
		}
	}
}

// TestRunBuiltIn: the first thing a newcomer tries.
func TestRunBuiltIn(t *testing.T) {
	args := []string{"run", "--temperature", "0", "--max-tokens", "12"}
	piped := weir(t, "What are you?\n", nil, args...)
	if piped.code != exitOK || len(strings.Fields(piped.out)) < 4 || !regexp.MustCompile(`^\[\d+ tokens, [0-9.]+ tokens/s, first after [0-9.]+ s, prompt \d+`).MatchString(piped.err) {
		t.Errorf("%+v", piped)
	}
	asked := weir(t, "", nil, append(args, "--quiet", "--prompt", "What are you?")...)
	if asked.out != piped.out || asked.err != "" {
		t.Errorf("with --prompt and --quiet: %+v, piped: %+v", asked, piped)
	}
	if name := weir(t, "", nil, "show").out; !strings.Contains(name, builtin.Name) {
		t.Errorf("show does not name the model %s: %s", builtin.Name, name)
	}
}

// unread fails the test if anything reads it.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("standard input was read")
	return 0, io.EOF
}

// TestUsageBeforeInput: a wrong option is told before the prompt is waited for.
func TestUsageBeforeInput(t *testing.T) {
	var out, err bytes.Buffer
	if code := run([]string{"run", "--top-p", "2"}, streams{in: unread{t}, out: &out, err: &err}, nowhere(t)); code != exitUsage {
		t.Errorf("exit %d: %s", code, err.String())
	}
}

// waitFor gives other goroutines the processor until something is true.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("waited in vain: %s\n%s", what, buf[:runtime.Stack(buf, true)])
		}
	}
}
