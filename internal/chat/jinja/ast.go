package jinja

// expr is an expression. Its eval is called through state.eval only, which
// counts steps and depth.
type expr interface {
	eval(st *state) (Value, error)
}

type (
	constExpr struct{ v Value }
	nameExpr  struct {
		line int
		name string
		slot slot
	}
	listExpr  struct{ items []expr }
	tupleExpr struct{ items []expr }
	dictExpr  struct {
		line       int
		keys, vals []expr
	}
	unaryExpr struct {
		line int
		op   string // "-", "+" or "not"
		x    expr
	}
	binaryExpr struct {
		line int
		op   string // "+", "-", "*", "/", "//", "%", "**"
		l, r expr
	}
	concatExpr struct{ parts []expr }
	logicExpr  struct {
		isOr bool
		l, r expr
	}
	compareExpr struct {
		line  int
		first expr
		rest  []comparand
	}
	condExpr struct {
		line       int
		test, a, b expr // b is nil without an else
	}
	attrExpr struct {
		line int
		obj  expr
		name string
	}
	itemExpr struct {
		line     int
		obj, key expr
	}
	sliceExpr struct {
		line              int
		obj               expr
		start, stop, step expr // nil if absent
	}
	callExpr struct {
		line int
		fn   expr
		args argList
	}
	filterExpr struct {
		line int
		x    expr // nil in a filter block and a set block: their text is the input
		name string
		fn   filterFunc // nil if there is no such filter
		args argList
	}
	testExpr struct {
		line int
		x    expr
		name string
		fn   testFunc // nil if there is no such test
		args argList
	}
	// nsExpr is an attribute of a namespace as the target of an assignment.
	nsExpr struct {
		line       int
		name, attr string
		slot       slot
	}
)

type comparand struct {
	op string // "==", "!=", "<", "<=", ">", ">=", "in", "not in"
	x  expr
}

// argList is what stands in a call's parentheses.
type argList struct {
	pos      []expr
	names    []string // of the keyword arguments
	vals     []expr
	dynPos   expr // *x
	dynNamed expr // **x
}

// stmt is a statement.
type stmt interface {
	exec(st *state) (control, error)
}

// control says where to go after a statement.
type control int

const (
	goOn control = iota
	breakLoop
	continueLoop
)

type (
	outputStmt struct{ parts []outputPart }
	setStmt    struct {
		line   int
		target expr // nameExpr, nsExpr or tupleExpr of them
		value  expr
	}
	setBlockStmt struct {
		line   int
		target expr
		filter *filterExpr // nil without
		body   []stmt
		scope  scope
	}
	ifStmt struct {
		line     int
		branches []branch
		els      []stmt
	}
	forStmt struct {
		line      int
		target    expr
		iter      expr
		test      expr // nil without
		recursive bool
		body, els []stmt

		usesLoop   bool
		loop       slot
		scope      scope
		elseScope  scope
		testTarget expr // the target once more, as the test's function sees it
		testFunc   function
		testScope  scope
		loopFunc   function // of a recursive loop
	}
	withStmt struct {
		line    int
		targets []expr
		values  []expr
		body    []stmt
		scope   scope
	}
	macroStmt struct {
		line int
		decl *macroDecl
		slot slot
	}
	callBlockStmt struct {
		line int
		call *callExpr
		decl *macroDecl // of the caller
	}
	generationStmt struct {
		line int
		decl *macroDecl
	}
	filterBlockStmt struct {
		line   int
		filter *filterExpr
		body   []stmt
		scope  scope
	}
	loopControlStmt struct {
		line int
		goes control
	}
)

type outputPart struct {
	text string
	x    expr // nil for text
	line int
}

type branch struct {
	test expr
	body []stmt
}

// macroDecl is a macro, the block of a call, or a generation block.
type macroDecl struct {
	line     int
	name     string // empty for a caller
	params   []string
	defaults []expr // of the last parameters
	body     []stmt

	fn    function
	scope scope
	slots []slot // of the parameters
	// Slots of the special parameters; used if the body mentions them.
	caller, kwargs, varargs             slot
	usesCaller, usesKwargs, usesVarargs bool
}
