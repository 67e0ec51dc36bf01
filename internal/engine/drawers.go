package engine

import (
	"runtime"
	"sync"
	"sync/atomic"

	"weir/internal/backend"
	"weir/internal/sample"
	"weir/internal/sched"
)

// drawers draw the next tokens of many sequences side by side, where a device computes
// and what is to be drawn is nothing that it can. Searching a row of 128k logits takes
// 0.1 to 0.2 ms: 64 rows one after the other take longer than the step that made them, while
// the machine's processors have nothing else to do. A CPU's have: its workers wait for
// the next pass, so there the loop draws alone.
type drawers struct {
	scratch []sample.Scratch // of each worker; none: the loop draws alone
	rows    []int            // of wanted, to be drawn now
	draws   []sample.Draw    // by row of wanted
	done    []bool
}

func (d *drawers) init(asked int, apart bool) {
	if asked == 0 && apart {
		asked = runtime.GOMAXPROCS(0)
	}
	*d = drawers{}
	if asked > 1 {
		d.scratch = make([]sample.Scratch, asked)
	}
}

// drawAhead draws for the rows whose draws nothing else in this step decides: those
// of sequences without a structure, not of guesses. A draw changes nothing but its
// row of logits, and depends on no other, so which are made here does not show.
func (l *loop) drawAhead(p *sched.Plan, r *backend.Result) {
	d := &l.drawers
	d.rows, d.done = d.rows[:0], append(d.done[:0], make([]bool, len(l.wanted))...)
	if len(d.scratch) == 0 {
		return
	}
	for i, w := range l.wanted {
		q := l.of(p.Items[w.item].Seq)
		if q != nil && l.places[i] < 0 && w.node < 0 && w.pos >= q.Prompt-1 && q.req.pin == nil && q.text == nil {
			d.rows = append(d.rows, i)
		}
	}
	if len(d.rows) < 2 {
		return
	}
	d.draws = append(d.draws[:0], make([]sample.Draw, len(l.wanted))...)
	l.share(func(c *sample.Scratch, i int) {
		q := l.of(p.Items[l.wanted[i].item].Seq)
		d.draws[i], d.done[i] = q.sampler.DrawWith(c, r.Logits[i], q.generated()), true
	})
}

// share has the workers do the rows. A panic of one is the loop's, which contains it.
func (l *loop) share(draw func(*sample.Scratch, int)) {
	d := &l.drawers
	var wg sync.WaitGroup
	var next atomic.Int64
	var broke atomic.Pointer[any]
	for w := range min(len(d.scratch), len(d.rows)) {
		wg.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					broke.Store(&p)
				}
			}()
			for i := next.Add(1) - 1; i < int64(len(d.rows)); i = next.Add(1) - 1 {
				draw(&d.scratch[w], d.rows[i])
			}
		})
	}
	wg.Wait()
	if p := broke.Load(); p != nil {
		panic(*p)
	}
}
