package check

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write deploy/kubernetes anew")

// everything is every switch of the chart on.
const everything = `
replicas: 3
model: /models/some model.gguf
modelVolume: {persistentVolumeClaim: {claimName: models, readOnly: true}}
keys: {secret: weir-keys}
tls: {secret: weir-tls}
runtimeClassName: nvidia
nodeSelector: {gpu: "yes"}
tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {a: b}}}}]}}
podAnnotations: {a: b}
resources: {limits: {nvidia.com/gpu: 1, memory: 40Gi}}
autoscaling: {enabled: true, minReplicas: 2}
podMonitor: {enabled: true}
networkPolicy: {enabled: true, from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: gateway}}}]}
inferencePool: {enabled: true}
config: {max-running: 32, memory: 80%, vllm-metrics: true}
`

// inferencePool is the kind of the Gateway API Inference Extension, version 1, by
// its published definition.
type inferencePool struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   map[string]any `json:"metadata"`
	Spec       struct {
		Selector struct {
			MatchLabels map[string]string `json:"matchLabels"`
		} `json:"selector"`
		TargetPorts []struct {
			Number int32 `json:"number"`
		} `json:"targetPorts"`
		EndpointPickerRef struct {
			Group string `json:"group,omitempty"`
			Kind  string `json:"kind,omitempty"`
			Name  string `json:"name"`
			Port  struct {
				Number int32 `json:"number"`
			} `json:"port"`
			FailureMode string `json:"failureMode,omitempty"`
		} `json:"endpointPickerRef"`
	} `json:"spec"`
}

// kinds make the types of what the chart has.
var kinds = map[string]func() any{
	"v1 ConfigMap":                                 func() any { return new(core.ConfigMap) },
	"v1 Service":                                   func() any { return new(core.Service) },
	"v1 ServiceAccount":                            func() any { return new(core.ServiceAccount) },
	"apps/v1 Deployment":                           func() any { return new(apps.Deployment) },
	"policy/v1 PodDisruptionBudget":                func() any { return new(policy.PodDisruptionBudget) },
	"autoscaling/v2 HorizontalPodAutoscaler":       func() any { return new(autoscaling.HorizontalPodAutoscaler) },
	"networking.k8s.io/v1 NetworkPolicy":           func() any { return new(networking.NetworkPolicy) },
	"monitoring.coreos.com/v1 PodMonitor":          func() any { return new(monitoring.PodMonitor) },
	"inference.networking.k8s.io/v1 InferencePool": func() any { return new(inferencePool) },
}

// render renders the chart with values beside its own.
func render(t *testing.T, values string) (string, error) {
	t.Helper()
	chart, err := loader.Load("../helm/weir")
	if err != nil {
		t.Fatal(err)
	}
	var given map[string]any
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		t.Fatal(err)
	}
	release := chartutil.ReleaseOptions{Name: "weir", Namespace: "default", IsInstall: true, Revision: 1}
	merged, err := chartutil.ToRenderValues(chart, given, release, chartutil.DefaultCapabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(chart, merged)
	if err != nil {
		return "", err
	}
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, n := range names {
		if text := strings.TrimSpace(files[n]); text != "" && !strings.HasSuffix(n, ".tpl") {
			fmt.Fprintf(&b, "---\n%s\n", text)
		}
	}
	return b.String(), nil
}

// decode reads manifests into their types, strictly: an unknown field fails.
func decode(t *testing.T, manifests string) map[string]any {
	t.Helper()
	objects := map[string]any{}
	for text := range strings.SplitSeq(manifests, "---\n") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		var head struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		if err := yaml.Unmarshal([]byte(text), &head); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		kind := head.APIVersion + " " + head.Kind
		if kinds[kind] == nil {
			t.Errorf("no type for %s", kind)
			continue
		}
		object := kinds[kind]()
		if err := yaml.UnmarshalStrict([]byte(text), object); err != nil {
			t.Errorf("%s: %v\n%s", kind, err, text)
		}
		objects[head.Kind] = object
	}
	return objects
}

func TestChart(t *testing.T) {
	for name, c := range map[string]struct {
		values string
		kinds  int
	}{
		"plain":      {"", 5},
		"everything": {everything, len(kinds)},
		"least":      {"podDisruptionBudget: {enabled: false}", 4},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := render(t, c.values)
			if err != nil {
				t.Fatal(err)
			}
			objects := decode(t, text)
			if len(objects) != c.kinds {
				t.Errorf("%d kinds, want %d:\n%s", len(objects), c.kinds, text)
			}
			checkPod(t, objects)
			checkConfig(t, objects["ConfigMap"].(*core.ConfigMap))
			checkSelectors(t, objects)
		})
	}
}

// TestChartRefuses: values that make no sense are refused before anything is sent
// to a cluster.
func TestChartRefuses(t *testing.T) {
	for _, values := range []string{"replica: 2", "port: 80", "config: {port: 1}", "config: {api-key: x}", "inferencePool: {failureMode: Never}", "image: {repository: ''}"} {
		if _, err := render(t, values); err == nil {
			t.Errorf("%s is taken", values)
		}
	}
}

func checkPod(t *testing.T, objects map[string]any) {
	t.Helper()
	pod := objects["Deployment"].(*apps.Deployment).Spec.Template.Spec
	c := pod.Containers[0]
	if !*pod.SecurityContext.RunAsNonRoot || !*c.SecurityContext.ReadOnlyRootFilesystem || *c.SecurityContext.AllowPrivilegeEscalation ||
		len(c.SecurityContext.Capabilities.Drop) != 1 || pod.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault || *pod.AutomountServiceAccountToken {
		t.Errorf("the pod is not confined: %+v %+v", pod.SecurityContext, c.SecurityContext)
	}
	var drain int64
	config := objects["ConfigMap"].(*core.ConfigMap).Data["config.yaml"]
	for line := range strings.SplitSeq(config, "\n") {
		fmt.Sscanf(line, "drain-timeout: %ds", &drain)
	}
	if stop := c.Lifecycle.PreStop.Sleep.Seconds; drain == 0 || *pod.TerminationGracePeriodSeconds <= drain+stop {
		t.Errorf("the pod is killed after %d s, before a drain of %d s that begins after %d s has ended", *pod.TerminationGracePeriodSeconds, drain, stop)
	}
	for name, p := range map[string]*core.Probe{"/ready": c.ReadinessProbe, "/health": c.LivenessProbe} {
		if p.HTTPGet.Path != name || p.HTTPGet.Port.StrVal != c.Ports[0].Name {
			t.Errorf("a probe of %s asks %s at %s", name, p.HTTPGet.Path, p.HTTPGet.Port.StrVal)
		}
	}
	if c.StartupProbe.HTTPGet.Path != "/ready" || c.StartupProbe.PeriodSeconds*c.StartupProbe.FailureThreshold < 1800 {
		t.Errorf("the model has too little time to load: %+v", c.StartupProbe)
	}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] || !m.ReadOnly {
			t.Errorf("mount %+v has no volume, or can be written", m)
		}
		delete(volumes, m.Name)
	}
	if len(volumes) > 0 {
		t.Errorf("volumes that nothing mounts: %v", volumes)
	}
}

// checkConfig holds the file of options to weir's schema.
func checkConfig(t *testing.T, m *core.ConfigMap) {
	t.Helper()
	text, err := os.ReadFile("../../docs/config.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("config.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	var config any
	if err := yaml.UnmarshalStrict([]byte(m.Data["config.yaml"]), &config); err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(config)
	value, _ := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err := schema.Validate(value); err != nil {
		t.Errorf("%v in\n%s", err, m.Data["config.yaml"])
	}
}

// checkSelectors: whatever selects pods selects these.
func checkSelectors(t *testing.T, objects map[string]any) {
	t.Helper()
	d := objects["Deployment"].(*apps.Deployment)
	labels, port := d.Spec.Template.Labels, d.Spec.Template.Spec.Containers[0].Ports[0]
	selectors := map[string]map[string]string{
		"Deployment": d.Spec.Selector.MatchLabels,
		"Service":    objects["Service"].(*core.Service).Spec.Selector,
	}
	if o, ok := objects["PodDisruptionBudget"].(*policy.PodDisruptionBudget); ok {
		selectors["PodDisruptionBudget"] = o.Spec.Selector.MatchLabels
	}
	if o, ok := objects["NetworkPolicy"].(*networking.NetworkPolicy); ok {
		selectors["NetworkPolicy"] = o.Spec.PodSelector.MatchLabels
	}
	if o, ok := objects["PodMonitor"].(*monitoring.PodMonitor); ok {
		selectors["PodMonitor"] = o.Spec.Selector.MatchLabels
	}
	if o, ok := objects["InferencePool"].(*inferencePool); ok {
		selectors["InferencePool"] = o.Spec.Selector.MatchLabels
		ref := o.Spec.EndpointPickerRef
		if len(o.Spec.TargetPorts) != 1 || o.Spec.TargetPorts[0].Number != port.ContainerPort || ref.Name == "" || ref.Port.Number == 0 || !slices.Contains([]string{"FailOpen", "FailClose"}, ref.FailureMode) {
			t.Errorf("the pool is %+v", o.Spec)
		}
	}
	for who, selector := range selectors {
		for k, v := range selector {
			if labels[k] != v {
				t.Errorf("%s selects %s=%s, pods have %v", who, k, v, labels)
			}
		}
		if len(selector) == 0 {
			t.Errorf("%s selects nothing", who)
		}
	}
	if o, ok := objects["HorizontalPodAutoscaler"].(*autoscaling.HorizontalPodAutoscaler); ok {
		if o.Spec.ScaleTargetRef.Name != d.Name || o.Spec.Metrics[0].Pods.Metric.Name != "weir_requests_waiting" || d.Spec.Replicas != nil {
			t.Errorf("the autoscaler is %+v; replicas %v", o.Spec, d.Spec.Replicas)
		}
	}
}

// TestKubernetes: the plain manifests are the chart's with its own values.
func TestKubernetes(t *testing.T) {
	const file = "../kubernetes/weir.yaml"
	text, err := render(t, "")
	if err != nil {
		t.Fatal(err)
	}
	text = "# Made from deploy/helm/weir with its own values, for those who have no Helm:\n# kubectl apply -f weir.yaml. go test -update in deploy/check writes it anew.\n" + strings.ReplaceAll(text, "app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kubectl")
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != text {
		t.Errorf("%s is not what the chart gives (%v)", file, err)
	}
	_, body, _ := strings.Cut(string(got), "---\n")
	if objects := decode(t, body); len(objects) != 5 || reflect.ValueOf(objects["Deployment"]).IsNil() {
		t.Errorf("it has %d kinds", len(objects))
	}
}
