package kern

// The structs below are the kernels' parameters. Each names the header whose
// struct has the same layout.

// TensorMap describes a matrix to the tensor copy engine. The driver fills it in.
type TensorMap [128]byte

// How an activation is stored.
const (
	F32 = iota
	BF16
	F16
)

// How keys and values are stored besides (KEPT of ops.h).
const (
	KeptE4M3 = 3 + iota
	KeptQ8
)

// How a weight is stored: GGUF's numbers, and E4M3.
const (
	TypeF32  = 0
	TypeF16  = 1
	TypeQ8_0 = 8
	TypeQ4_K = 12
	TypeQ6_K = 14
	TypeBF16 = 30
	TypeE4M3 = 100
)

// Group is the most matrices of one product.
const Group = 3

// Places in a step's metadata (ops.h).
const (
	MetaRows = iota
	MetaWants
	MetaSeqs
	MetaToken
	MetaPos
	MetaSeq
	MetaWant
	MetaStored
	MetaTreeStart
	MetaTree
	MetaSlot
	MetaFew
	MetaFewCount
	MetaMany
	MetaManyCount
	MetaGroups = 16
)

// What a KV group has there, each.
const (
	GroupCell = iota
	GroupFirst
	GroupTable
	GroupPages
	GroupInts
)

// Out is Out of linear.h.
type Out struct {
	W, Scale, Bias, Dst uint64
	Rows, LdD           int32
	Type, Tiles         int32
}

// Gemm is GemmArgs of gemm.h.
type Gemm struct {
	Out            [Group]Out
	X, Tokens      uint64
	Work, Counts   uint64
	N, K, LdX, LdW int32
}

// Few is FewArgs of few.h.
type Few struct {
	Out                           [Group]Out
	X, Norm, Residual, Tokens     uint64
	N, Cols, LdX, LdW, LdR, Units int32
	Gate, _                       int32
	Eps                           float32
	_                             int32
}

// Ring is RingArgs of ring.h.
type Ring struct {
	Units, Gate, N                        int32
	Tiles                                 [Group]int32
	Blocks, Stages, XBytes, Flying, Early int32
	_                                     [5]int32
	W                                     [Group]TensorMap
	Few                                   Few
	_                                     [40]byte // up to a multiple of 64 bytes
}

// Blocks is BlocksArgs of blocks.h.
type Blocks struct {
	Out               [Group]Out
	X, XScale, Tokens uint64
	Work, Counts      uint64
	N, K, Rows, _     int32
}

// Hopper is HopperArgs of hopper.h.
type Hopper struct {
	X              TensorMap
	W              [Group]TensorMap
	Out            [Group]Out
	XScale, Tokens uint64
	Work, Counts   uint64
	N, Steps       int32
	Late, Tiles    int32
	Gate, First    int32
	_              [56]byte // up to a multiple of 64 bytes
}

// Act is Act of ops.h.
type Act struct {
	At       uint64
	Ld, Type int32
}

// Norm is NormArgs of ops.h.
type Norm struct {
	Dst, X, Delta Act
	W, Count      uint64
	Cols, Add     int32
	Eps           float32
	_             int32
}

// What Pair does.
const (
	PairAdd = iota
	PairSiLU
	PairGELU
	PairCopy
)

// Pair is PairArgs of ops.h.
type Pair struct {
	Dst, X, Y  Act
	Count      uint64
	Cols, What int32
}

// Gather is GatherArgs of ops.h.
type Gather struct {
	Dst, X Act
	Meta   uint64
	Cols   int32
	_      int32
}

// Cap is CapArgs of ops.h.
type Cap struct {
	X, Count        uint64
	Cols            int32
	Factor, Softcap float32
	_               int32
}

// Cache is Cache of ops.h.
type Cache struct {
	K, V, KS, VS        uint64
	Heads, Dim, Type    int32
	Group, Page, Window int32
}

// Rope is RopeArgs of ops.h.
type Rope struct {
	Q, K, V, QOut               Act
	Cache                       Cache
	Turns, QNorm, KNorm, Meta   uint64
	Heads, Rotated, Interleaved int32
	Scale, Eps                  float32
	_                           int32
}

// CopyCells is CopyArgs of ops.h.
type CopyCells struct {
	Layers, Copies uint64
	N, Bytes       int32
}

// Attend is AttendArgs of attend.h.
type Attend struct {
	Q, Dst         Act
	Cache          Cache
	Meta, Sinks    uint64
	Heads          int32
	Scale, Softcap float32
	Beside         int32
	Work, Counts   uint64
}

// Turn is TurnArgs of attend.h.
type Turn struct {
	Attend Attend
	Rope   Rope
}

// Matrix is Matrix of quant.h.
type Matrix struct {
	At, Scales           uint64
	Rows, Cols, Ld, Type int32
}

// Repack is RepackArgs of quant.h.
type Repack struct {
	From, To, Scales uint64
	Blocks           int64
	Type, _          int32
}

// Convert is ConvertArgs of quant.h.
type Convert struct {
	From, To       uint64
	Rows           int64
	Cols, Ld, Type int32
	_              int32
}

// E4M3 is E4M3Args of quant.h.
type E4M3 struct {
	From, To, Scales, Count uint64
	Ld, _                   int32
}

// GateE4M3 is GateE4M3Args of quant.h.
type GateE4M3 struct {
	Pair       Pair
	To, Scales uint64
	Ld, _      int32
}

// NormE4M3 is NormE4M3Args of quant.h.
type NormE4M3 struct {
	Norm       Norm
	To, Scales uint64
	Ld, _      int32
}

// Decode is DecodeArgs of quant.h.
type Decode struct {
	M     Matrix
	To    uint64
	Ld, _ int32
}

// Embed is EmbedArgs of quant.h.
type Embed struct {
	M                Matrix
	Dst, Meta, Slots uint64
	Ld               int32
	Scale            float32
}

// ToBlocks is ToBlocksArgs of blocks.h.
type ToBlocks struct {
	From, To, Scales, Count uint64
	K, LdX, Rows, Type      int32
}

// Random is RandomArgs of quant.h.
type Random struct {
	To, Scales uint64
	N          int64
	Seed       uint32
	Kind       int32
	Size       float32
	_          int32
}

// Peak is PeakArgs of gemm.h.
type Peak struct {
	From, To uint64
	Loops, _ int32
}

// Pick is PickArgs of ops.h.
type Pick struct {
	X, Best, Count uint64
	Cols, _        int32
}

// DrawRow is DrawRow of draw.h.
type DrawRow struct {
	Scale, TopP, MinP, U            float64
	Repetition, Frequency, Presence float64
	Row, Slot, Greedy, TopK         int32
	Vocab, Top                      int32
	Bias, Biases, Ban, Bans         int32
	Seen, Seens, Mask, MaskWords    int32
}

// DrawHead is DrawHead of draw.h.
type DrawHead struct {
	ID          int32
	Logit, Peak float32
	Tops        int32
	Total       float64
}

// MaxTop is the most alternatives of a draw.
const MaxTop = 20

// DrawTop is DrawTop of draw.h.
type DrawTop struct {
	Logit float32
	ID    int32
}

// Draw is DrawArgs of draw.h.
type Draw struct {
	Rows, Lists, Logits, Best, Slots, Heads, Tops, Weighed uint64
	Cols, _                                                int32
}

// WeighedBytes is the size of Weighed of draw.h, DrawParts into how many parts it
// divides a row.
const (
	WeighedBytes = 8 * (2*201 + 32 + 2)
	DrawParts    = 32
)
