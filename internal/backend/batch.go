package backend

// Batch is the metadata of one step: flat arrays, one element a row, so that a
// GPU copies them as they are. The engine fills it; a Stream only reads it.
type Batch struct {
	// Per row. Slot, Class and Tree may be left empty where all rows have the
	// zero value.
	Token []int32 // id, unless Slot says otherwise
	Slot  []int32 // 1 + the device slot that holds the row's token; 0: Token has it
	Pos   []int32 // absolute position, from 0
	Seq   []int32 // which of Seqs it belongs to; rows of one sequence are adjacent
	Class []Class
	// Cell[g][r] is where group g stores row r's keys and values.
	Cell [][]int32
	// Tree[r] lists, for a row of a draft tree, the rows of this batch that are
	// its ancestors within the draft, oldest first; nil for a row of a chain,
	// empty but not nil for a draft's root.
	// A tree row sees the sequence's positions before the draft's first row
	// through the block table, then these, then itself. A chain row sees every
	// position up to its own through the block table.
	Tree [][]int32

	// Per sequence: the block tables.
	Seqs []SeqTable

	// Want lists the rows whose logits are wanted, ascending.
	Want []int32
}

// SeqTable is a sequence's block tables, one a group. Pages[g][i] holds
// positions [(First[g]+i)*pageSize, (First[g]+i+1)*pageSize): pages before
// First have left the window and were freed.
type SeqTable struct {
	Pages [][]int32
	First []int32
	// Stored is the number of positions before this batch's first row of the
	// sequence: what a draft tree's rows all see.
	Stored int32
}

// Rows is the number of rows.
func (b *Batch) Rows() int { return len(b.Token) }

// Reset empties b and keeps its memory; groups is the number of KV groups.
func (b *Batch) Reset(groups int) {
	b.Token, b.Slot, b.Pos, b.Seq = b.Token[:0], b.Slot[:0], b.Pos[:0], b.Seq[:0]
	b.Class, b.Tree, b.Want = b.Class[:0], b.Tree[:0], b.Want[:0]
	for len(b.Cell) < groups {
		b.Cell = append(b.Cell, nil)
	}
	b.Cell = b.Cell[:groups]
	for g := range b.Cell {
		b.Cell[g] = b.Cell[g][:0]
	}
	b.Seqs = b.Seqs[:0]
}
