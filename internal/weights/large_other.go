//go:build !linux

package weights

import "context"

// enlarge is for Linux, which alone can move memory to where other memory is.
func (r region) enlarge(context.Context, func(int64) bool) (int64, error) { return 0, nil }
