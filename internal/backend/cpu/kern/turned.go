package kern

// TurnedRows is the least number of rows that DecodeTurned takes faster than Decode. 0: the
// level has none.
func (l Level) TurnedRows() int {
	if l == AVX2 {
		return 3
	}
	return 0
}
