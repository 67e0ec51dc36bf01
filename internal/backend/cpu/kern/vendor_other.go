//go:build !amd64

package kern

// slowBF16: see amd64's.
func slowBF16() bool { return false }

// decodeAhead: see amd64's.
var decodeAhead = usualAhead
