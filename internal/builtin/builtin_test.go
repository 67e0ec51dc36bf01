package builtin

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// sizeLimit bounds what the embedded files add to the binary.
const sizeLimit = 12_500_000

type manifest struct {
	Seed   int64 `json:"seed"`
	Tokens int64 `json:"tokens"`
	Steps  int   `json:"steps"`
	Corpus struct {
		SHA256 string `json:"sha256"`
	} `json:"corpus"`
	DevLoss float64 `json:"dev_loss"`
	Files   map[string]struct {
		Bytes  int    `json:"bytes"`
		SHA256 string `json:"sha256"`
	} `json:"files"`
}

func readManifest(t *testing.T) manifest {
	t.Helper()
	raw, err := os.ReadFile("manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var m manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestFilesMatchTheManifest(t *testing.T) {
	m := readManifest(t)
	files := map[string][]byte{
		"weir-mini.gguf":               Model(),
		"weir-mini-draft.gguf":         Draft(),
		"weir-mini-medusa.safetensors": MedusaHeads(),
		"medusa_config.json":           MedusaConfig(),
	}
	if len(m.Files) != len(files) {
		t.Errorf("the manifest lists %d files, %d are embedded", len(m.Files), len(files))
	}
	total := 0
	for name, raw := range files {
		want := m.Files[name]
		sum := sha256.Sum256(raw)
		if got := hex.EncodeToString(sum[:]); got != want.SHA256 || len(raw) != want.Bytes {
			t.Errorf("%s: %d bytes, sha256 %s; the manifest says %d, %s", name, len(raw), got, want.Bytes, want.SHA256)
		}
		total += len(raw)
	}
	if total > sizeLimit {
		t.Errorf("the embedded files take %d bytes, more than %d", total, sizeLimit)
	}
}

func TestManifestSaysHowTheModelWasMade(t *testing.T) {
	m := readManifest(t)
	if m.Seed == 0 || m.Tokens == 0 || m.Steps == 0 || m.DevLoss == 0 || len(m.Corpus.SHA256) != 64 {
		t.Errorf("incomplete manifest: %+v", m)
	}
}

func TestGGUFHeaders(t *testing.T) {
	// Tensors: embedding and last norm, and nine a layer.
	for name, c := range map[string]struct {
		raw     []byte
		tensors uint64
	}{"model": {Model(), 2 + 9*8}, "draft": {Draft(), 2 + 9*1}} {
		if !bytes.HasPrefix(c.raw, []byte("GGUF\x03\x00\x00\x00")) {
			t.Errorf("%s: not a GGUF v3 file", name)
		}
		if got := binary.LittleEndian.Uint64(c.raw[8:]); got != c.tensors {
			t.Errorf("%s: %d tensors, want %d", name, got, c.tensors)
		}
	}
}

func TestMedusaHeadsAgreeWithTheirConfig(t *testing.T) {
	var config struct {
		Heads  int    `json:"medusa_num_heads"`
		Layers int    `json:"medusa_num_layers"`
		Base   string `json:"base_model_name_or_path"`
		Width  int    `json:"hidden_size"`
		Vocab  int    `json:"vocab_size"`
	}
	if err := json.Unmarshal(MedusaConfig(), &config); err != nil {
		t.Fatal(err)
	}
	if config.Heads < 3 || config.Layers != 1 || config.Base != Name {
		t.Errorf("unexpected config %+v", config)
	}
	raw := MedusaHeads()
	n := binary.LittleEndian.Uint64(raw)
	var tensors map[string]struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets []int  `json:"data_offsets"`
	}
	header := bytes.Replace(raw[8:8+n], []byte(`"__metadata__":{"format":"pt"},`), nil, 1)
	if err := json.Unmarshal(header, &tensors); err != nil {
		t.Fatal(err)
	}
	for i := range config.Heads {
		for suffix, shape := range map[string][]int{
			"0.linear.weight": {config.Width, config.Width},
			"0.linear.bias":   {config.Width},
			"1.weight":        {config.Vocab, config.Width},
		} {
			x := tensors[fmt.Sprintf("%d.%s", i, suffix)]
			if fmt.Sprint(x.Shape) != fmt.Sprint(shape) || x.DType != "F16" {
				t.Errorf("head %d %s: %s %v, want F16 %v", i, suffix, x.DType, x.Shape, shape)
			}
		}
	}
}
