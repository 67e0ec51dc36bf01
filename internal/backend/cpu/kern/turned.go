package kern

// TurnedRows is the least number of rows that DecodeTurned takes faster than Decode, with
// quantised weights and with others. 0: the level has none.
func (l Level) TurnedRows(quantized bool) int {
	switch {
	case l.TurnedFloats() == 0:
		return 0
	case !quantized:
		return 2
	case l == AVX2 || l == AVXVNNI:
		return 3
	}
	return 5
}

// turnedPassing is the size of rows512.h's struct passing, which holds it to that.
const turnedPassing = 8*(768+16*64) + 4*(16*64+2*272)

// turnedReal is that of rowsreal.h's struct realpass.
const turnedReal = 16*4*2*64 + 4*4*1024

// TurnedFloats is the size of the memory that DecodeTurned wants at Scratch.
func (l Level) TurnedFloats() int {
	switch l {
	case AVX2, AVXVNNI: // struct realpass of rowsreal.h, wherever it begins
		return (turnedReal + 64) / 4
	case AVX512, AVX512BF16, AMX: // struct passing of rows512.h, wherever it begins
		return (max(turnedPassing, turnedReal) + 64) / 4
	}
	return 0
}
