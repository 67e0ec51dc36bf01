package cpu

// Pages as bytes, for backend.PageStore, as they are stored.

// PageBytes implements backend.PageStore.
func (c *kvCache) PageBytes(group int) int {
	return c.spec.PageSize * int(c.spec.Groups[group].TokenBytes(c.spec.Type))
}

// ReadPage implements backend.PageStore.
func (c *kvCache) ReadPage(group int, page int32, dst []byte) { copy(dst, c.page(group, page)) }

// WritePage implements backend.PageStore.
func (c *kvCache) WritePage(group int, page int32, src []byte) { copy(c.page(group, page), src) }

func (c *kvCache) page(group int, page int32) []byte {
	n := c.PageBytes(group)
	return c.groups[group][int(page)*n : (int(page)+1)*n]
}
