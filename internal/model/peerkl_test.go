package model

import (
	"encoding/binary"
	"flag"
	"os"
	"testing"

	"weir/internal/backend"
	"weir/internal/backend/cpu/kern"
)

var (
	klModel = flag.String("kl-model", "", "quantised GGUF file of BenchmarkKL")
	klLevel = flag.String("kl-level", "", "level of BenchmarkKL; left out: this machine's best")
	klBase  = flag.String("kl-base", "", "file of llama-perplexity --kl-divergence-base, whose tokens BenchmarkKL computes")
)

// BenchmarkKL measures how far the kernels of a level stray from
// the logits of the same file in float32, on the tokens that llama-perplexity used:
// of each piece of the text the second half counts, as there.
func BenchmarkKL(b *testing.B) {
	if *klModel == "" || *klBase == "" {
		b.Skip("needs -kl-model and -kl-base")
	}
	data, err := os.ReadFile(*klModel)
	if err != nil {
		b.Fatal(err)
	}
	level := kern.Best()
	if *klLevel != "" {
		if level, err = kern.ParseLevel(*klLevel); err != nil {
			b.Fatal(err)
		}
	}
	f, pieces := openBytes(b, data), klPieces(b)
	for name, class := range map[string]backend.Class{"prompts": backend.Prefill, "generated": backend.Decode} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				b.ReportMetric(meanKL(b, runOptions{level: level, class: class}, pieces, func(o runOptions) *runner { return newRunner(b, f, o) }), "KL")
			}
		})
	}
}

// meanKL is the mean divergence over the second halves of the pieces.
func meanKL(b *testing.B, how runOptions, pieces [][]int32, runner func(runOptions) *runner) float64 {
	sum, n := 0.0, 0
	for _, ids := range pieces {
		ref := runOptions{level: kern.Portable, kvType: backend.KVF16, threads: 2, rows: len(ids), context: len(ids)}
		how.kvType, how.threads, how.rows, how.context = ref.kvType, ref.threads, ref.rows, ref.context
		want, got := runner(ref).chunks(ids, len(ids)), runner(how).chunks(ids, len(ids))
		for i := len(ids) / 2; i < len(ids)-1; i++ {
			sum += divergence(want[i], got[i])
			n++
		}
	}
	return sum / float64(n)
}

// klPieces reads the tokens: after 8 bytes the length of a piece, the size of the
// vocabulary and the number of pieces, then the ids, all of 32 bits.
func klPieces(b *testing.B) [][]int32 {
	data, err := os.ReadFile(*klBase)
	if err != nil {
		b.Fatal(err)
	}
	at := func(i int) int32 { return int32(binary.LittleEndian.Uint32(data[8+4*i:])) }
	length, count := int(at(0)), int(at(2))
	pieces := make([][]int32, count)
	for c := range pieces {
		for i := range length {
			pieces[c] = append(pieces[c], at(3+c*length+i))
		}
	}
	return pieces
}
