package grammar

// format is what a format of JSON Schema lets a string be: never more than the
// format's standard, sometimes less (an address of e-mail without quotes, say).
type format struct {
	pattern string // anchored
	longest int    // characters; 0: no bound besides the pattern's
}

const (
	fmtYear = `[0-9]{4}`
	// A day exists in its month, and 29 February in leap years alone.
	fmtDay  = `(((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01]))|((0[469]|11)-(0[1-9]|[12][0-9]|30))|(02-(0[1-9]|1[0-9]|2[0-8])))`
	fmtLeap = `([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29`
	fmtDate = `(` + fmtYear + `-` + fmtDay + `|` + fmtLeap + `)`
	fmtTime = `([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])`

	fmtOctet = `(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])`
	fmtIPv4  = fmtOctet + `(\.` + fmtOctet + `){3}`
	fmtH16   = `[0-9a-fA-F]{1,4}`
	fmtIPv6  = `((` + fmtH16 + `:){7}` + fmtH16 +
		`|(` + fmtH16 + `:){1,6}:` + fmtH16 +
		`|(` + fmtH16 + `:){1,5}(:` + fmtH16 + `){2}` +
		`|(` + fmtH16 + `:){1,4}(:` + fmtH16 + `){3}` +
		`|(` + fmtH16 + `:){1,3}(:` + fmtH16 + `){4}` +
		`|(` + fmtH16 + `:){1,2}(:` + fmtH16 + `){5}` +
		`|` + fmtH16 + `:(:` + fmtH16 + `){6}` +
		`|:(:` + fmtH16 + `){1,7}|(` + fmtH16 + `:){1,7}:|::)`

	fmtLabel = `[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?`
	fmtHost  = fmtLabel + `(\.` + fmtLabel + `)*`

	fmtAtext = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"

	fmtPct     = `%[0-9A-Fa-f]{2}`
	fmtPchar   = `([a-zA-Z0-9._~!$&'()*+,;=:@-]|` + fmtPct + `)`
	fmtQuery   = `([a-zA-Z0-9._~!$&'()*+,;=:@/?-]|` + fmtPct + `)*`
	fmtTail    = `(\?` + fmtQuery + `)?(#` + fmtQuery + `)?`
	fmtRegName = `([a-zA-Z0-9_~!$&'()*+,;=-]+(\.[a-zA-Z0-9_~!$&'()*+,;=-]+)*)`
	fmtUser    = `(([a-zA-Z0-9._~!$&'()*+,;=:-]|` + fmtPct + `)+@)?`
	fmtAuth    = fmtUser + fmtRegName + `(:[0-9]{1,4})?`
	fmtURI     = `[a-zA-Z][a-zA-Z0-9+.-]*:(//` + fmtAuth + `(/` + fmtPchar + `*)*|/?` + fmtPchar + `+(/` + fmtPchar + `*)*)` + fmtTail
	fmtRelPath = `(([a-zA-Z0-9._~!$&'()*+,;=@-]|` + fmtPct + `)+(/` + fmtPchar + `*)*|/(` + fmtPchar + `+(/` + fmtPchar + `*)*)?)?`

	fmtPointer = `(/([^/~]|~[01])*)*`
	fmtUUID    = `[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`
	fmtDur     = `P([0-9]{1,9}W|([0-9]{1,9}Y([0-9]{1,9}M([0-9]{1,9}D)?)?|[0-9]{1,9}M([0-9]{1,9}D)?|[0-9]{1,9}D)(T` + fmtDurTime + `)?|T` + fmtDurTime + `)`
	fmtDurTime = `([0-9]{1,9}H([0-9]{1,9}M([0-9]{1,9}S)?)?|[0-9]{1,9}M([0-9]{1,9}S)?|[0-9]{1,9}S)`

	fmtTemplate = `([a-zA-Z0-9._~/:?#@!$&()*+,;=-]|\{[+#./;?&]?[a-zA-Z0-9_]+(,[a-zA-Z0-9_]+)*\})*`
	fmtSemver   = `(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})(-[a-zA-Z][0-9a-zA-Z]*(\.[a-zA-Z][0-9a-zA-Z]*)*)?(\+[0-9a-zA-Z]+(\.[0-9a-zA-Z]+)*)?`
	fmtBase64   = `([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?`
)

// formats are those of strings that constrain; the names beside JSON Schema's
// own are OpenAPI's and what schemas at large use.
func formats() map[string]format {
	return map[string]format{
		"date-time": {pattern: fmtDate + `T` + fmtTime},
		"date":      {pattern: fmtDate},
		"time":      {pattern: fmtTime},
		"duration":  {pattern: fmtDur},
		"email":     {pattern: fmtAtext + `(\.` + fmtAtext + `)*@` + fmtHost, longest: 64},
		"idn-email": {pattern: fmtAtext + `(\.` + fmtAtext + `)*@` + fmtHost, longest: 64},
		"hostname":  {pattern: fmtHost, longest: 253}, "host-name": {pattern: fmtHost, longest: 253}, "idn-hostname": {pattern: fmtHost, longest: 253},
		"ipv4": {pattern: fmtIPv4}, "ip-address": {pattern: fmtIPv4},
		"ipv6": {pattern: fmtIPv6},
		"uri":  {pattern: fmtURI}, "iri": {pattern: fmtURI}, "url": {pattern: fmtURI},
		"uri-reference": {pattern: `(` + fmtURI + `|` + fmtRelPath + fmtTail + `)`}, "iri-reference": {pattern: `(` + fmtURI + `|` + fmtRelPath + fmtTail + `)`},
		"uri-template": {pattern: fmtTemplate},
		"uuid":         {pattern: fmtUUID}, "guid": {pattern: fmtUUID},
		"json-pointer":          {pattern: fmtPointer},
		"relative-json-pointer": {pattern: `(0|[1-9][0-9]{0,8})(#|` + fmtPointer + `)`},
		"semver":                {pattern: fmtSemver},
		"byte":                  {pattern: fmtBase64},
	}
}

// annotations are formats that say how a value is meant, not what it may be, or
// (the numbers') what its type cannot but be.
func annotations() map[string]bool {
	return map[string]bool{"password": true, "binary": true, "text": true, "textarea": true, "float": true, "double": true, "int64": true, "uint64": true,
		"markdown": true, "html": true}
}

// intBounds are formats of integers.
func intBounds() map[string][2]string {
	return map[string][2]string{"int8": {"-128", "127"}, "int16": {"-32768", "32767"}, "int32": {"-2147483648", "2147483647"},
		"uint8": {"0", "255"}, "uint16": {"0", "65535"}, "uint32": {"0", "4294967295"}}
}
