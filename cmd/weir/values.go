package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// valueMappers read options' values. Kong has mappers of its own; these say
// what is wanted in words that fit a flag, a variable and a line of a file.
func valueMappers() []kong.Option {
	return []kong.Option{
		kong.KindMapper(reflect.String, mapper("a text", parseString)),
		kong.KindMapper(reflect.Int, mapper("a whole number", strconv.Atoi)),
		kong.KindMapper(reflect.Uint64, mapper("a whole number of 0 or more", parseUint)),
		kong.KindMapper(reflect.Float64, mapper("a number", parseFloat)),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), mapper("a time such as 30s, 500ms or 2m", parseDuration)),
		kong.TypeMapper(reflect.TypeFor[wordList](), mapper("words with commas between", parseWords)),
		kong.TypeMapper(reflect.TypeFor[memorySize](), mapper("a size such as 12GiB or 800MB, or a share such as 80%", parseMemory)),
	}
}

// mapper is a kong.Mapper that parses one word.
func mapper[T any](wanted string, parse func(string) (T, error)) kong.Mapper {
	return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		token := ctx.Scan.Pop()
		word, ok := token.Value.(string)
		_, text := any(*new(T)).(string)
		if kind := token.InferredType(); !ok || kind == kong.EOLToken || kind == kong.FlagToken || text && kind == kong.ShortFlagToken {
			return fmt.Errorf("the value is missing; give %s%s", wanted, withEquals(token, ctx.Value))
		}
		v, err := parse(word)
		if err != nil {
			return fmt.Errorf("%q is not %s%s", word, wanted, detail(err))
		}
		target.Set(reflect.ValueOf(v).Convert(target.Type()))
		return nil
	})
}

// withEquals tells how to give a value that begins with a dash.
func withEquals(t kong.Token, v *kong.Value) string {
	if t.IsEOL() {
		return ""
	}
	return fmt.Sprintf(" (--%s=%v if that is it)", v.Name, t.Value)
}

// detail is what an error adds to "is not wanted": nothing if it is the
// standard library's, which names functions.
func detail(err error) string {
	if s := err.Error(); !strings.HasPrefix(s, "strconv.") && !strings.HasPrefix(s, "time: ") {
		return ": " + s
	}
	return ""
}

func parseString(s string) (string, error) { return s, nil }

func parseUint(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }

func parseFloat(s string) (float64, error) { return strconv.ParseFloat(s, 64) }

// parseDuration takes a bare 0 as time.ParseDuration does; other numbers need
// their unit.
func parseDuration(s string) (time.Duration, error) { return time.ParseDuration(s) }
