package jinja

// Undefined is the value of a name, attribute or element that does not exist.
// It can be printed (as nothing), iterated (as nothing) and tested; anything
// else is an error that says what was missing.
type Undefined struct {
	hint  string // the whole message, if not empty
	owner Value  // what was asked for name, nil if it was a variable
	name  Value  // what was asked for: nearly always a string
	class string // the exception's name; UndefinedError if empty
}

func undefinedHint(hint string) *Undefined { return &Undefined{hint: hint} }

func undefinedName(name string) *Undefined { return &Undefined{name: name} }

func undefinedAttr(owner, name Value) *Undefined { return &Undefined{owner: owner, name: name} }

// unsafeAttr is what stands for an attribute that exists but that the
// sandbox withholds: methods that change their object, and private names.
func unsafeAttr(owner Value, name string) *Undefined {
	return &Undefined{
		hint:  "access to attribute " + quote(name) + " of '" + typeName(owner) + "' object is unsafe.",
		class: "SecurityError",
	}
}

// fail is the error of using u.
func (u *Undefined) fail(st *state) error {
	class := u.class
	if class == "" {
		class = "UndefinedError"
	}
	msg := u.hint
	switch name, isName := asString(u.name); {
	case msg != "":
	case u.owner == nil:
		msg = quote(name) + " is undefined"
	case !isName:
		shown, err := st.repr(u.name)
		if err != nil {
			return err
		}
		msg = ownerName(u.owner) + " has no element " + shown
	default:
		msg = quote(ownerName(u.owner)) + " has no attribute " + quote(name)
	}
	return &Error{Class: class, Msg: msg}
}

// ownerName names the kind of object that lacks an attribute, as Jinja does.
func ownerName(v Value) string {
	switch v := v.(type) {
	case noneType:
		return "None"
	case *Namespace, *cycler, *joiner:
		return "jinja2.utils." + typeName(v) + " object"
	case *macro, *loopContext:
		return "jinja2.runtime." + typeName(v) + " object"
	case *text:
		if v.safe {
			return "markupsafe.Markup object"
		}
	case *Tuple:
		if v.names != nil {
			return "jinja2.filters._GroupTuple object"
		}
	}
	return typeName(v) + " object"
}
