package jinja

import (
	"fmt"
	"strings"
	"time"
)

const maxTimeWidth = 128

// strftime formats a time as Python's datetime.strftime does on Linux, in the
// C locale. The clock Transformers asks has no time zone, so %z and %Z are empty.
func strftime(format string, t time.Time) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		start := i
		i++
		flag := byte(0)
		for i+1 < len(format) && strings.IndexByte("-_0^#", format[i]) >= 0 {
			flag = format[i]
			i++
		}
		width := 0
		for i+1 < len(format) && isDecimal(format[i]) {
			width = width*10 + int(format[i]-'0')
			if width > maxTimeWidth {
				return "", valueError("strftime_now: a field is wider than %d", maxTimeWidth)
			}
			i++
		}
		field, ok := timeField(format[i], t)
		if !ok {
			b.WriteString(format[start : i+1])
			continue
		}
		b.WriteString(field.format(flag, width))
	}
	return b.String(), nil
}

// timeText is one formatted field: text, or a number with its usual padding.
type timeText struct {
	text     string
	n, width int // width 0: text
	pad      byte
}

func (f timeText) format(flag byte, width int) string {
	pad := f.pad
	if pad == 0 {
		pad = ' '
	}
	s := f.text
	if f.width > 0 {
		s = fmt.Sprint(f.n)
		width = max(width, f.width)
	}
	switch flag {
	case '-':
		return s
	case '_':
		pad = ' '
	case '0':
		pad = '0'
	case '^':
		s = strings.ToUpper(s)
	case '#':
		s = swapForFlag(s)
	}
	if gap := width - len(s); gap > 0 {
		s = strings.Repeat(string(pad), gap) + s
	}
	return s
}

// swapForFlag is the # flag: capitals, but small letters for AM and PM.
func swapForFlag(s string) string {
	if s == "AM" || s == "PM" {
		return strings.ToLower(s)
	}
	return strings.ToUpper(s)
}

func timeField(c byte, t time.Time) (timeText, bool) {
	text := func(s string) (timeText, bool) { return timeText{text: s}, true }
	num := func(n, width int) (timeText, bool) { return timeText{n: n, width: width, pad: '0'}, true }
	spaced := func(n, width int) (timeText, bool) { return timeText{n: n, width: width, pad: ' '}, true }
	hour12 := (t.Hour()+11)%12 + 1
	isoYear, isoWeek := t.ISOWeek()
	day, weekday := t.YearDay()-1, int(t.Weekday())
	switch c {
	case '%':
		return text("%")
	case 'n':
		return text("\n")
	case 't':
		return text("\t")
	case 'a':
		return text(t.Format("Mon"))
	case 'A':
		return text(t.Format("Monday"))
	case 'b', 'h':
		return text(t.Format("Jan"))
	case 'B':
		return text(t.Format("January"))
	case 'p':
		return text(t.Format("PM"))
	case 'P':
		return text(t.Format("pm"))
	case 'c':
		return text(t.Format("Mon Jan _2 15:04:05 2006"))
	case 'x', 'D':
		return text(t.Format("01/02/06"))
	case 'X', 'T':
		return text(t.Format("15:04:05"))
	case 'r':
		return text(t.Format("03:04:05 PM"))
	case 'R':
		return text(t.Format("15:04"))
	case 'F':
		return text(t.Format("2006-01-02"))
	case 'z', 'Z':
		return text("")
	case 'f':
		return num(t.Nanosecond()/1000, 6)
	case 's':
		return num(int(t.Unix()), 1)
	case 'Y':
		return num(t.Year(), 1)
	case 'C':
		return num(t.Year()/100, 2)
	case 'y':
		return num(t.Year()%100, 2)
	case 'G':
		return num(isoYear, 1)
	case 'g':
		return num(isoYear%100, 2)
	case 'V':
		return num(isoWeek, 2)
	case 'U':
		return num((day+7-weekday)/7, 2)
	case 'W':
		return num((day+7-(weekday+6)%7)/7, 2)
	case 'm':
		return num(int(t.Month()), 2)
	case 'd':
		return num(t.Day(), 2)
	case 'e':
		return spaced(t.Day(), 2)
	case 'j':
		return num(t.YearDay(), 3)
	case 'H':
		return num(t.Hour(), 2)
	case 'k':
		return spaced(t.Hour(), 2)
	case 'I':
		return num(hour12, 2)
	case 'l':
		return spaced(hour12, 2)
	case 'M':
		return num(t.Minute(), 2)
	case 'S':
		return num(t.Second(), 2)
	case 'u':
		return num((weekday+6)%7+1, 1)
	case 'w':
		return num(weekday, 1)
	}
	return timeText{}, false
}
