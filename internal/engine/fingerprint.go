package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"weir/internal/weights"
)

// Fingerprint tells models apart: a hash of all that the file says of itself, its
// tensors' names, types and shapes, and of some of each tensor's bytes. All of
// them would take as long as loading does; a model that was trained further
// differs in every tensor, so samples are enough.
func Fingerprint(f *weights.File) string {
	h := sha256.New()
	for _, kv := range f.Meta().KVs() {
		fmt.Fprintf(h, "%q=%v\n", kv.Key, kv.Value)
	}
	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer.model"} {
		data, _ := f.JSON(name)
		fmt.Fprintf(h, "%s %d\n", name, len(data))
		h.Write(data)
	}
	const sample = 4 << 10
	for _, t := range f.Tensors() {
		fmt.Fprintf(h, "%q %v %v\n", t.Name, t.Type, t.Shape)
		for i := range 4 {
			at := max(0, len(t.Data)-sample) * i / 3
			h.Write(t.Data[at:min(len(t.Data), at+sample)])
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
