package backend

// Sizer is a Backend that knows better than the files what its memory holds:
// weights in other types than theirs, activations in several. Planning asks for it
// with a type assertion; where it is absent, weights take what their files take
// and activations four bytes an element.
type Sizer interface {
	// WeightBytes is what the weights loaded so far take.
	WeightBytes() int64
	// StreamBytes is what a Stream of the plan takes.
	StreamBytes(Plan) int64
}
