package grammar

import "strings"

// constraints are the keywords for which a misspelled one is taken.
var constraints = []string{"type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
	"minItems", "maxItems", "minProperties", "maxProperties", "pattern", "format", "allOf", "anyOf", "oneOf", "properties", "required", "items", "contains",
	"additionalProperties", "additionalItems", "patternProperties", "propertyNames", "prefixItems", "uniqueItems", "dependencies", "dependentRequired",
	"dependentSchemas", "unevaluatedProperties", "unevaluatedItems"}

// misspelled gives the constraint that a keyword was meant to be: the same but for
// case and separators, or, of longer ones, for a letter.
func misspelled(k string) string {
	if strings.HasPrefix(k, "_") || strings.HasPrefix(k, "x-") {
		return ""
	}
	flat := strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(k))
	for _, c := range constraints {
		if flat == strings.ToLower(c) {
			return c
		}
	}
	for _, c := range constraints {
		if len(c) >= len("items") && slip(flat, strings.ToLower(c)) {
			return c
		}
	}
	return ""
}

// slip tells whether a and b differ by one letter: another, one more or less, or two
// the wrong way round.
func slip(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return a[i:] == b[i+1:]
	}
	if i == len(a) || a[i+1:] == b[i+1:] {
		return true
	}
	return a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]
}
