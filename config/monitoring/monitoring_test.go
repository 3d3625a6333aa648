// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package monitoring holds the alerts and the dashboard against the code and the docs.
package monitoring

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	_ "sigs.k8s.io/controller-runtime" // which counts, too
	registry "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/internal/metrics"
)

// rule is an alert.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var shipped struct {
		Spec struct {
			Groups []struct {
				Rules []rule `json:"rules"`
			} `json:"groups"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(read(t, "rules.yaml"), &shipped); err != nil {
		t.Fatal(err)
	}
	for _, g := range shipped.Spec.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 15 {
		t.Fatalf("only %d alerts; the rules are read wrongly", len(all))
	}
	return all
}

// queries are those of the dashboard.
func queries(t *testing.T) (all []string) {
	t.Helper()
	var board struct {
		Panels []struct {
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(read(t, "dashboard.json"), &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %d queries; the dashboard is read wrongly", len(all))
	}
	return all
}

var (
	// described is how a metric that is counted tells its name.
	described = regexp.MustCompile(`fqName: "([^"]+)"`)
	// filter is what no metric is in.
	filter = regexp.MustCompile(`\{[^}]*\}|\[[^\]]*\]|"[^"]*"`)
	// name is a metric, and not a function: that has a parenthesis behind it.
	name = regexp.MustCompile(`\b[a-z]+(?:_[a-z0-9]+)+\b(\s*\()?`)
	// part is what a histogram adds to its name.
	part = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// known are the names of all that the operator counts.
func known(t *testing.T) map[string]bool {
	t.Helper()
	for _, err := range []error{
		metrics.Gauges(nil, nil, nil, nil), metrics.AdmissionEnforced(nil), metrics.PoliciesNotReady(nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	all, descriptions := map[string]bool{}, make(chan *prometheus.Desc)
	go func() {
		registry.Registry.(prometheus.Collector).Describe(descriptions)
		close(descriptions)
	}()
	for d := range descriptions {
		all[described.FindStringSubmatch(d.String())[1]] = true
	}
	return all
}

func metricsIn(expr string) (names []string) {
	for _, found := range name.FindAllStringSubmatch(filter.ReplaceAllString(expr, ""), -1) {
		if found[1] == "" {
			names = append(names, part.ReplaceAllString(found[0], ""))
		}
	}
	return names
}

func TestWhatIsLookedAtIsCounted(t *testing.T) {
	there, seen := known(t), map[string]bool{}
	look := func(what, expr string) {
		for _, m := range metricsIn(expr) {
			seen[m] = true
			if !there[m] && !strings.HasPrefix(m, "kube_") { // kube-state-metrics counts those
				t.Errorf("%s: nothing counts %s", what, m)
			}
		}
	}
	for _, r := range rules(t) {
		look("alert "+r.Alert, r.Expr)
	}
	for _, q := range queries(t) {
		look("dashboard", q)
	}
	for m := range there {
		if strings.HasPrefix(m, "lapse_") && !seen[m] {
			t.Errorf("%s is counted, and in no alert and on no dashboard", m)
		}
	}
}

func TestControllersThatAreLookedAtExist(t *testing.T) {
	var sources strings.Builder
	files, err := filepath.Glob("../../controllers/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		sources.Write(read(t, file))
	}
	named := regexp.MustCompile(`controller=~"([^"]+)"`).FindAllStringSubmatch(string(read(t, "rules.yaml")), -1)
	if len(named) != 2 {
		t.Fatalf("the rules name %v; they are read wrongly", named)
	}
	for _, found := range named {
		for controller := range strings.SplitSeq(found[1], "|") {
			if !strings.Contains(sources.String(), `Named("`+controller+`")`) {
				t.Errorf("there is no controller %s", controller)
			}
		}
	}
}

func TestEachAlertSaysWhatToDo(t *testing.T) {
	const page = "https://github.com/lapse-dev/lapse/blob/main/docs/troubleshooting.md#"
	pages, tests := string(read(t, "../../docs/troubleshooting.md")), string(read(t, "../../hack/monitoring/rules_test.yaml"))
	for _, r := range rules(t) {
		t.Run(r.Alert, func(t *testing.T) {
			if !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) {
				t.Errorf("its severity is %q, and not critical or warning", r.Labels["severity"])
			}
			if r.Annotations["summary"] == "" || !strings.HasSuffix(r.Annotations["description"], ".") {
				t.Errorf("it does not say what is wrong, or what to do: %v", r.Annotations)
			}
			if got, want := r.Annotations["runbook_url"], page+strings.ToLower(r.Alert); got != want {
				t.Errorf("runbook_url is %q, want %q", got, want)
			}
			if !strings.Contains(pages, "\n### "+r.Alert+"\n") {
				t.Error("docs/troubleshooting.md has no heading for it")
			}
			if !strings.Contains(tests, `alertname="`+r.Alert+`"`) {
				t.Error("hack/monitoring/rules_test.yaml never sees it fire")
			}
		})
	}
	for heading := range strings.Lines(pages) {
		alert, ours := strings.CutPrefix(strings.TrimSpace(heading), "### Lapse")
		if ours && !slices.ContainsFunc(rules(t), func(r rule) bool { return r.Alert == "Lapse"+alert }) {
			t.Errorf("docs/troubleshooting.md tells of Lapse%s, which is no alert", alert)
		}
	}
}

func TestTheScraperIsTheOneThatMayRead(t *testing.T) {
	var monitor struct {
		Spec struct {
			Selector  struct{ MatchLabels map[string]string }
			Endpoints []struct {
				Port          string
				Authorization struct {
					Credentials corev1.SecretKeySelector
				}
			}
		}
	}
	var service corev1.Service
	for file, into := range map[string]any{"service_monitor.yaml": &monitor, "../manager/metrics_service.yaml": &service} {
		if err := yaml.Unmarshal(read(t, file), into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	for label, value := range monitor.Spec.Selector.MatchLabels {
		if service.Labels[label] != value {
			t.Errorf("it selects %s=%s, and the Service has %q", label, value, service.Labels[label])
		}
	}
	if len(monitor.Spec.Endpoints) != 1 || monitor.Spec.Endpoints[0].Port != service.Spec.Ports[0].Name {
		t.Fatalf("it scrapes %v, and the Service has %v", monitor.Spec.Endpoints, service.Spec.Ports)
	}
	scraper := string(read(t, "scraper.yaml"))
	secret := monitor.Spec.Endpoints[0].Authorization.Credentials.Name
	if !strings.Contains(scraper, "kind: Secret\nmetadata:\n  name: "+secret+"\n") {
		t.Errorf("scraper.yaml has no Secret %s", secret)
	}
	if !strings.Contains(string(read(t, "rules.yaml")), `job="`+service.Name+`"`) {
		t.Errorf("the rules do not know the job %s", service.Name)
	}
}
