package check

import (
	"encoding/json"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// documented are the metrics of docs/metrics.md, which weir's own test holds to
// those that there are.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"process_resident_memory_bytes": true, "process_open_fds": true, "process_max_fds": true, "go_goroutines": true}
	for _, m := range regexp.MustCompile("`((?:weir_|vllm:)[a-z_0-9:]+)`").FindAllSubmatch(text, -1) {
		names[string(m[1])] = true
	}
	if len(names) < 40 {
		t.Fatalf("only %d metrics are documented", len(names))
	}
	return names
}

// checkQuery parses PromQL and looks for each metric that it asks for.
func checkQuery(t *testing.T, names map[string]bool, where, query string) {
	t.Helper()
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, query)
		return
	}
	found := false
	parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			found = true
			if base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(v.Name, ""); !names[v.Name] && !names[base] {
				t.Errorf("%s asks for %s, which does not exist", where, v.Name)
			}
		}
		return nil
	})
	if !found {
		t.Errorf("%s asks for nothing: %s", where, query)
	}
}

func TestRules(t *testing.T) {
	text, err := os.ReadFile("../prometheus/weir.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.Fatal("no groups")
	}
	names, n := documented(t), 0
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			n++
			checkQuery(t, names, r.Alert, r.Expr)
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s does not say what happened, what to do, or how bad it is", r.Alert)
			}
		}
	}
	if n < 5 {
		t.Errorf("%d alerts", n)
	}
}

func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../grafana/weir.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		UID    string `json:"uid"`
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			GridPos struct{ H, W, X, Y int }
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	names := documented(t)
	variables := strings.NewReplacer("$__rate_interval", "5m", "$model", "x", "$instance", "y")
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q is there twice, or has no title or query", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if x >= 24 || taken[[2]int{x, y}] != "" {
					t.Fatalf("panel %q overlaps %q, or leaves the grid", p.Title, taken[[2]int{x, y}])
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		for _, q := range p.Targets {
			checkQuery(t, names, p.Title, variables.Replace(q.Expr))
		}
	}
	if len(d.Panels) < 10 || d.UID == "" {
		t.Errorf("%d panels", len(d.Panels))
	}
}
