package cpu

// Pages as bytes, for backend.PageStore: layer after layer of the group, keys
// then values, as they are stored.

// PageBytes implements backend.PageStore.
func (c *kvCache) PageBytes(group int) int {
	return c.spec.PageSize * int(c.spec.Groups[group].TokenBytes(c.spec.Type))
}

// ReadPage implements backend.PageStore.
func (c *kvCache) ReadPage(group int, page int32, dst []byte) {
	for _, part := range c.page(group, page) {
		dst = dst[copy(dst, part):]
	}
}

// WritePage implements backend.PageStore.
func (c *kvCache) WritePage(group int, page int32, src []byte) {
	for _, part := range c.page(group, page) {
		src = src[copy(part, src):]
	}
}

// page lists where a page's keys and values are.
func (c *kvCache) page(group int, page int32) [][]byte {
	before := 0
	for _, g := range c.spec.Groups[:group] {
		before += len(g.Layers)
	}
	g := c.spec.Groups[group]
	size := c.spec.PageSize * g.Heads * c.spec.Type.HeadBytes(g.HeadDim)
	var parts [][]byte
	for _, block := range c.blocks[before : before+len(g.Layers)] {
		half := len(block) / 2
		at := int(page) * size
		parts = append(parts, block[at:at+size:half], block[half+at:half+at+size])
	}
	return parts
}
