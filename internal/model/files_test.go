package model

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"weir/internal/weights"
)

func floatBytes(x []float32) []byte {
	b := make([]byte, 0, 4*len(x))
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// rewriteHF copies a checkpoint with other tensors.
func rewriteHF(t *testing.T, f *weights.File, tensors []weights.Tensor) *weights.File {
	t.Helper()
	config, ok := f.JSON(configFile)
	if !ok {
		t.Fatal("the checkpoint has no config.json")
	}
	return writeHF(t, string(config), tensors)
}

// writeHF writes and opens a checkpoint.
func writeHF(t *testing.T, config string, tensors []weights.Tensor) *weights.File {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, configFile), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if err := weights.WriteSafetensors(file, tensors); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(dir, weights.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
