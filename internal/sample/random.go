package sample

// Uniform returns the random number in [0, 1) for the token at a position (how
// many tokens came before it) of a choice. It is a pure function: a generator
// that is a counter has no state to lose, to share or to replay.
func Uniform(seed uint64, choice, step int) float64 {
	key := mix64(mix64(seed) + golden*uint64(choice))
	return float64(mix64(key+golden*uint64(step))>>11) * 0x1p-53
}

// golden is 2^64 divided by the golden ratio, odd: multiples of it are spread
// evenly, which makes them good counters.
const golden = 0x9e3779b97f4a7c15

// mix64 is SplitMix64's output function (Steele, Lea, Flood 2014, with
// Stafford's constants), a bijection in which every input bit reaches every
// output bit.
func mix64(x uint64) uint64 {
	x += golden
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
