package auth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const file = `# who may use the model
- name: alice
  hash: HASH1
  scopes: [inference]
  limits: {requests-per-minute: 60, tokens-per-minute: 1000, concurrent: 2, share: 3}
- name: alice
  hash: HASH2
  scopes: [inference, metrics]
  expires: 2026-01-02T00:00:00Z
- name: root@example.com
  hash: HASH3
  scopes: [admin]
`

func fileOf(secrets ...string) string {
	text := file
	for i, s := range secrets {
		text = strings.Replace(text, "HASH"+string(rune('1'+i)), HashOf(s).String(), 1)
	}
	return text
}

func TestFind(t *testing.T) {
	one, two, three := NewSecret(), NewSecret(), NewSecret()
	r, err := Parse([]byte(fileOf(one, two, three)))
	if err != nil {
		t.Fatal(err)
	}
	before := time.Date(2026, 1, 1, 23, 59, 59, 0, time.UTC)
	a, err := r.Find(one, before)
	if err != nil || a.Name != "alice" || a.Limits.RequestsPerMinute != 60 || a.Limits.TokensPerMinute != 1000 || a.Limits.Concurrent != 2 || a.Limits.Share != 3 {
		t.Errorf("got %+v, %v", a, err)
	}
	if !a.May(Inference) || !a.May(Open) || !a.May(AnyKey) || a.May(Metrics) || a.May(Debug) || a.May(Admin) {
		t.Errorf("alice may %v", a.Scopes)
	}
	if _, err := r.Find(two, before); err != nil {
		t.Errorf("a second before it expires: %v", err)
	}
	if _, err := r.Find(two, before.Add(time.Second)); err != ErrExpired {
		t.Errorf("when it expires: %v", err)
	}
	root, err := r.Find(three, before)
	if err != nil || !root.May(Debug) || !root.May(Inference) {
		t.Errorf("root: %+v, %v", root, err)
	}
	for _, wrong := range []string{"", one + "x", one[1:], HashOf(one).String(), strings.ToUpper(one)} {
		if c, err := r.Find(wrong, before); err != ErrUnknown || c != nil {
			t.Errorf("%q is taken for %v, %v", wrong, c, err)
		}
	}
	var nobody *Caller
	if !nobody.May(Admin) || nobody.String() != "" {
		t.Error("without keys everything is allowed")
	}
}

func TestParseRefuses(t *testing.T) {
	h := HashOf("x").String()
	for text, want := range map[string]string{
		"":                             "no keys",
		"# nothing\n":                  "no keys",
		"name: a\n":                    "not a YAML list",
		"- name: a\n  scopes: [all]":   "the hash is not",
		"- {name: a, hash: " + h + "}": "no scopes",
		"- {name: a, hash: " + h + ", scopes: [all]}":                                                  `"all" is no scope`,
		"- {name: '', hash: " + h + ", scopes: [admin]}":                                               "1 to 64",
		"- {name: \"a\\nb\", hash: " + h + ", scopes: [admin]}":                                        "1 to 64",
		"- {name: a, hash: " + h[:20] + ", scopes: [admin]}":                                           "the hash is not",
		"- {name: a, hash: " + h + ", scopes: [admin], secret: x}":                                     "unknown field",
		"- {name: a, hash: " + h + ", scopes: [admin], expires: tomorrow}":                             "it must be a time",
		"- {name: a, hash: " + h + ", scopes: [admin], limits: {concurrent: -1}}":                      "must be positive",
		"- {name: a, hash: " + h + ", scopes: [admin], limits: {weight: .nan}}":                        "weight",
		"- {name: a, hash: " + h + ", scopes: [admin]}\n- {name: b, hash: " + h + ", scopes: [admin]}": "there already",
	} {
		_, err := Parse([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestSingle(t *testing.T) {
	r, err := Single(NewSecret())
	if err != nil || len(r.Keys()) != 1 {
		t.Error(err)
	}
	if _, err := Single("secret"); err == nil {
		t.Error("a key that can be guessed is taken")
	}
	if r.And(nil) != r || (*Ring)(nil).And(r) != r || len(r.And(r).Keys()) != 2 {
		t.Error("And loses keys")
	}
}

// TestWatch replaces a key while it is used: both hold for a while, then the old
// one does not; a file that is wrong changes nothing and is reported once.
func TestWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	write := func(text string, when int) {
		t.Helper()
		stamp := time.Unix(1700000000+int64(when), 0)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	entry := func(secret string) string {
		text, err := Entry("bob", HashOf(secret), []Scope{Inference}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	old, fresh, fixed := NewSecret(), NewSecret(), NewSecret()
	write(entry(old), 0)
	extra, _ := Single(fixed)
	var reports []error
	w, err := Watch(path, extra, func(err error) { reports = append(reports, err) })
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	w.now = func() time.Time { return now }
	valid := func(secret string) bool {
		now = now.Add(2 * lookAgain)
		_, err := w.Ring().Find(secret, now)
		return err == nil
	}
	if !valid(old) || valid(fresh) || !valid(fixed) {
		t.Fatal("the first file is not what counts")
	}
	write(entry(old)+entry(fresh), 1)
	if !valid(old) || !valid(fresh) {
		t.Error("both keys must hold while one replaces the other")
	}
	write(entry(fresh), 2)
	if valid(old) || !valid(fresh) || !valid(fixed) {
		t.Error("the old key still holds")
	}
	write("- name: bob\n", 3)
	if !valid(fresh) || !valid(fixed) || len(reports) != 1 {
		t.Errorf("a wrong file: reports %v", reports)
	}
	os.Remove(path)
	if !valid(fresh) || !valid(fixed) || len(reports) != 2 {
		t.Errorf("a file that is gone: reports %v", reports)
	}
	write(entry(old), 4)
	if !valid(old) || valid(fresh) {
		t.Error("a file that is right again is not read")
	}
	now = now.Add(-time.Hour) // the clock is set back
	write(entry(fresh), 5)
	if _, err := w.Ring().Find(fresh, now); err != nil {
		t.Error("a clock that was set back stops the looking")
	}
	if _, err := Watch(filepath.Join(t.TempDir(), "none"), nil, nil); err == nil {
		t.Error("a file that is not there is taken")
	}
	none, err := Watch("", nil, nil)
	if err != nil || none.Ring() != nil || (*Watcher)(nil).Ring() != nil {
		t.Error("no file and no key is no ring")
	}
}

func TestAppend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	for i, name := range []string{"a", "b"} {
		text, err := Entry(name, HashOf(NewSecret()), []Scope{Inference, Debug}, time.Unix(2e9, 0))
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 { // a file that people have edited
			old, _ := os.ReadFile(path)
			if err := os.WriteFile(path, append([]byte("# ours\n"), strings.TrimSpace(string(old))...), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		if err := Append(path, text); err != nil {
			t.Fatal(err)
		}
	}
	text, _ := os.ReadFile(path)
	r, err := Parse(text)
	if err != nil || len(r.Keys()) != 2 || r.Keys()[1].Caller.Name != "b" || !r.Keys()[0].Expires.Equal(time.Unix(2e9, 0)) || !strings.HasPrefix(string(text), "# ours\n") {
		t.Errorf("got %v of\n%s", err, text)
	}
	if err := os.WriteFile(path, []byte("nonsense: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Append(path, "- name: x\n"); err == nil {
		t.Error("adds to what is no file of keys")
	}
	if _, err := Entry("two words", Hash{}, nil, time.Time{}); err == nil {
		t.Error("a name with a blank is taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(fileOf("a", "b", "c")))
	f.Add([]byte("- {}"))
	f.Add([]byte("! 0"))
	f.Add([]byte("- name: &a x\n- *a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil {
			if r != nil {
				t.Error("keys with an error")
			}
			return
		}
		for _, k := range r.Keys() {
			if k.Caller.Name == "" || len(k.Caller.Scopes) == 0 {
				t.Errorf("a key without name or scopes: %+v", k)
			}
		}
	})
}

func BenchmarkFind(b *testing.B) {
	var keys []Key
	for range 100 {
		keys = append(keys, Key{Hash: HashOf(NewSecret()), Caller: &Caller{}})
	}
	r := NewRing(keys...)
	secret := NewSecret()
	for b.Loop() {
		if _, err := r.Find(secret, time.Time{}); err == nil {
			b.Fatal("found")
		}
	}
}
