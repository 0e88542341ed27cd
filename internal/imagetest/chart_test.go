//go:build image

package imagetest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// helm calls helm without a cluster; it may fail.
func helm(t testing.TB, args ...string) Result {
	t.Helper()
	return Command{Args: append([]string{filepath.Join(Root(t), ".tools", "helm")}, args...)}.Try(t)
}

func chart(t testing.TB) string { return filepath.Join(Root(t), "image", "helm", "sluice") }

// existing are values for a database that is there.
const existing = "db.useExisting=true,db.endpoint=pg:5433,db.secret.name=pg"

// everything switches every object on.
const everything = existing + ",autoscaling.enabled=true,autoscaling.targetMemoryUtilizationPercentage=80,networkPolicy.enabled=true,ingress.enabled=true," +
	"serviceMonitor.enabled=true,redis.enabled=true,redis.host=redis,redis.secretName=redis,masterkey=sk-0123456789abcdef,saltkey=salt,sysctls.enabled=true," +
	"proxy_config.general_settings.store_model_in_db=true,secretFiles[0].name=OPENAI_API_KEY,secretFiles[0].secretName=providers,secretFiles[0].key=openai," +
	"environmentSecrets[0]=more,environmentConfigMaps[0]=plain,envVars.JSON_LOGS=true,numWorkers=4,args[0]=--strict"

// secure has both ports speak TLS.
const secure = "tls.secretName=t,tls.health=true"

// document is one object of what helm renders, as text.
type document struct{ kind, name, text string }

var (
	kindLine = regexp.MustCompile(`(?m)^kind: (\S+)$`)
	nameLine = regexp.MustCompile(`(?m)^metadata:\n(?:  .*\n)*?  name: (\S+)$`)
)

// render is what the chart makes of values (as --set takes them).
func render(t testing.TB, values string, args ...string) []document {
	t.Helper()
	r := helm(t, append([]string{"template", "r", chart(t), "--set", values}, args...)...)
	if r.Code != 0 {
		t.Fatalf("helm template --set %s: %s", values, r.Output())
	}
	var all []document
	for _, text := range strings.Split(r.Stdout, "\n---\n") {
		if kind := kindLine.FindStringSubmatch(text); kind != nil {
			name := nameLine.FindStringSubmatch(text)
			if name == nil {
				t.Fatalf("an object without a name:\n%s", text)
			}
			all = append(all, document{kind[1], name[1], text})
		}
	}
	return all
}

// object is the one object of a kind whose name ends so; its text is empty when
// there is none.
func object(docs []document, kind, suffix string) string {
	for _, d := range docs {
		if d.kind == kind && strings.HasSuffix(d.name, suffix) {
			return d.text
		}
	}
	return ""
}

// TestHelmLint: the chart has no fault that helm knows of, with few values and with many.
func TestHelmLint(t *testing.T) {
	for _, values := range []string{"nameOverride=x", existing, everything, "db.deployStandalone=true"} {
		if r := helm(t, "lint", "--strict", chart(t), "--set", values); r.Code != 0 {
			t.Errorf("helm lint --set %s: %s", values, r.Output())
		}
	}
}

// TestHelmPacked: the archive is the same twice, can be installed as it is, and
// names the image of its release.
func TestHelmPacked(t *testing.T) {
	pack := func() string {
		out := Command{Args: []string{filepath.Join(Root(t), "image", "helm", "build"), "1.2.3-4-gabcdef0"}, Dir: Root(t)}.Run(t)
		file, _, _ := strings.Cut(out, ":")
		b, err := os.ReadFile(filepath.Join(Root(t), file))
		if err != nil {
			t.Fatal(err)
		}
		kept := filepath.Join(t.TempDir(), "chart.tgz")
		if err := os.WriteFile(kept, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return kept
	}
	first, second := pack(), pack()
	a, _ := os.ReadFile(first)
	b, _ := os.ReadFile(second)
	if digest(a) != digest(b) {
		t.Error("packed twice, two archives")
	}
	if r := helm(t, "template", "r", first); !strings.Contains(r.Stdout, `image: "sluice:1.2.3-4-gabcdef0"`) {
		t.Errorf("the archive does not name its image: %s", tail(r.Output(), 2000))
	}
	if r := (Command{Args: []string{filepath.Join(Root(t), "image", "helm", "build"), "../x"}}).Try(t); r.Code == 0 {
		t.Error("a release that is no tag was packed")
	}
	Command{Args: []string{filepath.Join(Root(t), "image", "helm", "build")}, Dir: Root(t)}.Run(t)
}

// TestHelmRefuses: what cannot work is refused in a sentence that names the value.
func TestHelmRefuses(t *testing.T) {
	for name, c := range map[string]struct{ values, says string }{
		"replicas without a database":   {"replicaCount=2", "replicaCount is 2 and there is no database"},
		"scaling without a database":    {"autoscaling.enabled=true", "autoscaling.enabled needs a database"},
		"a database that is not used":   {"db.url=postgresql://a:b@c/d", "set db.useExisting=true"},
		"a database in the file":        {"proxy_config.general_settings.database_url=postgresql://a:b@c/d", "the chart has to know of the database"},
		"two databases":                 {"db.useExisting=true,db.deployStandalone=true", "choose one"},
		"an endpoint without a user":    {"db.useExisting=true,db.endpoint=pg", "set db.secret.name"},
		"a user without an endpoint":    {"db.useExisting=true,db.secret.name=pg", "nothing says where the database is"},
		"a template without its values": {`db.useExisting=true,db.url=postgresql://$(DATABASE_USERNAME)@h/d`, "db.secret.name"},
		"a job that nobody runs":        {existing + ",migrationJob.hooks.helm.enabled=false", "nothing would run the job"},
		"Argo and a generated key":      {existing + ",migrationJob.hooks.argocd.enabled=true", "set masterkeySecretName"},
		"Argo and a generated password": {"db.deployStandalone=true,migrationJob.hooks.argocd.enabled=true,masterkeySecretName=m", "postgresql.auth.existingSecret"},
		"a master key of another form":  {"masterkey=hello", "masterkey must begin with sk-"},
		"a ConfigMap without a name":    {"proxyConfigMap.create=false", "proxyConfigMap.name is empty"},
		"a Redis without a host":        {"redis.enabled=true", "redis.host is empty"},
		"KEDA":                          {"keda.enabled=true", "Use autoscaling"},
		"two numbers in the budget":     {"pdb.minAvailable=1", "Kubernetes takes one"},
		"no time to stop":               {"terminationGracePeriodSeconds=30", "must be more than 60"},
		"a text for a number":           {"service.port=http", "/service/port"},
		"TLS that no probe knows of":    {"envVars.SLUICE_HEALTH_TLS=true", "Set tls.health=true"},
		"nor so":                        {"tls.secretName=t,extraEnvVars[0].name=SLUICE_HEALTH_TLS", "Set tls.health=true"},
		"TLS without a certificate":     {"tls.health=true", "set tls.secretName"},
		"two certificates":              {"tls.secretName=t,envVars.SSL_KEYFILE_PATH=/x", "SSL_KEYFILE_PATH is among the variables, and tls.secretName is set"},
		"a certificate by value":        {"tls.key=secret", "/tls"},
		"a port twice":                  {"separateHealthPort=4000", "/separateHealthPort"},
		"an unknown probe field":        {"livenessProbe.path=/x", "/livenessProbe"},
		"a size that is none":           {"persistence.size=many", "/persistence/size"},
		"a volume for several pods":     {"persistence.accessModes[0]=ReadWriteMany", "/persistence/accessModes"},
		"a duration without a unit":     {"prestopDelay=15", "/prestopDelay"},
		"no time for the journals":      {"prestopDelay=1m", "prestopDelay is 1m: more than 45s"},
		"nor for them in seconds":       {"prestopDelay=46s", "prestopDelay is 46s: more than 45s"},
		"no pod that may go":            {existing + ",pdb.maxUnavailable=null,pdb.minAvailable=2", "pdb.minAvailable is 2 and there may be no more than 2 pod(s)"},
		"fewer at most than at least":   {existing + ",autoscaling.enabled=true,autoscaling.minReplicas=11", "autoscaling.minReplicas is 11, more than"},
		"LiteLLM's image":               {"image.repository=ghcr.io/berriai/litellm-database", "an image of LiteLLM"},
		"LiteLLM's command":             {"command[0]=litellm", "Set args"},
		"Bitnami's image":               {"db.deployStandalone=true,postgresql.image.tag=17", "postgresql.image is not a text"},
		"a level that is none":          {"logLevel=loud", "/logLevel"},
		"a name that is none":           {"fullnameOverride=A_b", "/fullnameOverride"},
		"a selector that is a list":     {"nodeSelector[0]=x", "/nodeSelector"},
	} {
		t.Run(name, func(t *testing.T) {
			r := helm(t, "template", "r", chart(t), "--set", c.values)
			if r.Code == 0 {
				t.Fatalf("--set %s was taken", c.values)
			}
			if !strings.Contains(r.Output(), c.says) {
				t.Errorf("--set %s: it does not say %q:\n%s", c.values, c.says, r.Output())
			}
		})
	}
}

// TestHelmShape: who is what with which values.
func TestHelmShape(t *testing.T) {
	const yes, no = true, false
	for name, c := range map[string]struct {
		values, kind, suffix, has string
		want                      bool
	}{
		"without a database a Deployment":    {"a=b", "Deployment", "sluice", "replicas: 1", yes},
		"without a database no job":          {"a=b", "Job", "", "", no},
		"without a database no volume":       {"a=b", "StatefulSet", "", "", no},
		"without a database it can have one": {"persistence.enabled=true", "StatefulSet", "sluice", "volumeClaimTemplates", yes},
		"with one a StatefulSet":             {existing, "StatefulSet", "sluice", "podManagementPolicy: Parallel", yes},
		"with one two pods":                  {existing, "StatefulSet", "sluice", "replicas: 2", yes},
		"with one it can do without volumes": {existing + ",persistence.enabled=false", "Deployment", "sluice", "replicas: 2", yes},
		"scaled, nobody says how many":       {everything, "StatefulSet", "sluice", "\n  replicas:", no},
		"scaled":                             {everything, "HorizontalPodAutoscaler", "sluice", "kind: StatefulSet", yes},
		"pods do not migrate":                {existing, "StatefulSet", "sluice", "name: DISABLE_SCHEMA_UPDATE\n              value: \"true\"", yes},
		"pods migrate without the job":       {existing + ",migrationJob.enabled=false", "StatefulSet", "sluice", "name: DISABLE_SCHEMA_UPDATE\n              value: \"false\"", yes},
		"the job migrates":                   {existing, "Job", "migration", "name: DISABLE_SCHEMA_UPDATE\n              value: \"false\"", yes},
		"the job is a hook":                  {existing, "Job", "migration", "helm.sh/hook: pre-install,pre-upgrade", yes},
		"the standalone's job comes later":   {"db.deployStandalone=true", "Job", "migration", "helm.sh/hook: post-install,pre-upgrade", yes},
		"Argo has its own":                   {existing + ",masterkeySecretName=m,migrationJob.hooks.argocd.enabled=true,migrationJob.hooks.helm.enabled=false", "Job", "migration", "argocd.argoproj.io/hook: PreSync", yes},
		"and then helm has none":             {existing + ",masterkeySecretName=m,migrationJob.hooks.argocd.enabled=true,migrationJob.hooks.helm.enabled=false", "Job", "migration", "helm.sh/hook", no},
		"what the job reads comes first":     {everything, "Secret", "migration", "helm.sh/hook-weight: \"-4\"", yes},
		"the same for Argo":                  {everything + ",migrationJob.hooks.argocd.enabled=true", "Secret", "migration", "argocd.argoproj.io/sync-wave: \"-5\"", yes},
		"time to stop":                       {"a=b", "Deployment", "sluice", "terminationGracePeriodSeconds: 3660", yes},
		"and what of it is for streams":      {"a=b", "Deployment", "sluice", "name: SUPERVISORD_STOPWAITSECS\n              value: \"3600\"", yes},
		"non-root":                           {"a=b", "Deployment", "sluice", "runAsNonRoot: true", yes},
		"read-only":                          {"a=b", "Deployment", "sluice", "readOnlyRootFilesystem: true", yes},
		"liveness":                           {"a=b", "Deployment", "sluice", "livenessProbe:\n            httpGet: {path: /health/liveliness, port: health}", yes},
		"readiness":                          {"a=b", "Deployment", "sluice", "readinessProbe:\n            httpGet: {path: /health/readiness, port: health}", yes},
		"spread":                             {existing, "StatefulSet", "sluice", "topologyKey: topology.kubernetes.io/zone", yes},
		"the policy":                         {everything, "NetworkPolicy", "sluice", "policyTypes: [Ingress]", yes},
		"the policy outwards":                {everything + ",networkPolicy.egress[0].ports[0].port=443", "NetworkPolicy", "sluice", "policyTypes: [Ingress, Egress]", yes},
		"no monitor without its API":         {everything, "ServiceMonitor", "", "", no},
		"no secret in the ConfigMap":         {everything, "ConfigMap", "config", "sk-0123", no},
		"no secret in the pod":               {everything, "StatefulSet", "sluice", "sk-0123", no},
		"the port of the endpoint":           {existing, "Job", "migration", "name: DATABASE_PORT\n              value: \"5433\"", yes},
		"LiteLLM's template of a URL":        {`db.useExisting=true,db.endpoint=h,db.secret.name=pg,db.url=postgresql://$(DATABASE_USERNAME):$(DATABASE_PASSWORD)@$(DATABASE_HOST)/$(DATABASE_NAME)`, "Job", "migration", "value: \"postgresql://$(DATABASE_USERNAME)", yes},
		"an address that has colons":         {"db.useExisting=true,db.endpoint=fd00::1,db.secret.name=pg", "Job", "migration", "value: \"fd00::1\"", yes},
		"the job's account is not ours":      {existing, "Job", "migration", "serviceAccountName: default", yes},
		"but one that was there":             {existing + ",serviceAccount.create=false,serviceAccount.name=mine", "Job", "migration", "serviceAccountName: mine", yes},
		"a mesh leaves the job alone":        {existing + ",migrationJob.annotations.mesh=no", "Job", "migration", "      annotations:\n        mesh: \"no\"", yes},
		"a drained node was no try":          {existing, "Job", "migration", "type: DisruptionTarget", yes},
		"a whole number stays one":           {"envVars.N=10000000", "Deployment", "sluice", "value: \"10000000\"", yes},
		"a level":                            {"logLevel=ERROR", "Deployment", "sluice", "name: LITELLM_LOG\n              value: \"ERROR\"", yes},
		"and one that wins":                  {"logLevel=ERROR,envVars.LITELLM_LOG=INFO", "Deployment", "sluice", "value: \"ERROR\"", no},
		"probes in plain text":               {"tls.secretName=t", "Deployment", "sluice", "scheme: HTTPS", no},
		"probes by TLS":                      {secure, "Deployment", "sluice", "livenessProbe:\n            httpGet: {path: /health/liveliness, port: health, scheme: HTTPS}", yes},
		"readiness by TLS":                   {secure, "Deployment", "sluice", "readinessProbe:\n            httpGet: {path: /health/readiness, port: health, scheme: HTTPS}", yes},
		"startup by TLS":                     {secure, "Deployment", "sluice", "startupProbe:\n            httpGet: {path: /health/liveliness, port: health, scheme: HTTPS}", yes},
		"healthd knows":                      {secure, "Deployment", "sluice", "name: SLUICE_HEALTH_TLS\n              value: \"true\"", yes},
		"the certificate":                    {secure, "Deployment", "sluice", "secret: {secretName: t, defaultMode: 0440}", yes},
		"where it is":                        {secure, "Deployment", "sluice", "name: SSL_KEYFILE_PATH\n              value: /run/sluice/tls/tls.key", yes},
		"not in the job":                     {secure + "," + existing, "Job", "migration", "tls", no},
		"helm test by TLS":                   {"tls.secretName=t", "Pod", "test", `args: [--insecure, --url, "https://r-sluice:4000/health/readiness"]`, yes},
		"helm test by TLS of one's own":      {"envVars.SSL_CERTFILE_PATH=/x", "Pod", "test", "https://r-sluice:4000", yes},
		"helm test in plain text":            {"a=b", "Pod", "test", `args: [--url, "http://r-sluice:4000/health/readiness"]`, yes},
		"a URL is a file":                    {"db.useExisting=true,db.url=postgresql://a:hush@c/d", "StatefulSet", "sluice", "hush", no},
	} {
		t.Run(name, func(t *testing.T) {
			text := object(render(t, c.values), c.kind, c.suffix)
			if got := text != "" && strings.Contains(text, c.has); got != c.want {
				t.Errorf("--set %s: %s with %q: %v, want %v\n%s", c.values, c.kind, c.has, got, c.want, tail(text, 3000))
			}
		})
	}
	many := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(many, []byte("envVars: {N: 10000000}\nproxy_config: {most: 10000000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for kind, text := range map[string]string{"Deployment": `value: "10000000"`, "ConfigMap": "most: 10000000"} {
		if !strings.Contains(object(render(t, "a=b", "-f", many), kind, ""), text) {
			t.Errorf("a file's ten million is not %s in the %s", text, kind)
		}
	}
	const scheme = "scheme: https\n      tlsConfig:\n        insecureSkipVerify: true\n"
	for values, secured := range map[string]bool{everything: false, everything + "," + secure: true} {
		monitor := object(render(t, values, "--api-versions", "monitoring.coreos.com/v1"), "ServiceMonitor", "sluice")
		if monitor == "" || strings.Contains(monitor, scheme) != secured {
			t.Errorf("no ServiceMonitor where its API is there, or of another scheme (TLS: %v):\n%s", secured, monitor)
		}
	}
}

// TestHelmNoDefaults: no key and no password is the same in two installs.
func TestHelmNoDefaults(t *testing.T) {
	secret := regexp.MustCompile(`(?m)^  (masterkey|saltkey|password): (\S+)$`)
	seen := map[string]bool{}
	for range 2 {
		n := 0
		for _, d := range render(t, "db.deployStandalone=true") {
			for _, m := range secret.FindAllStringSubmatch(d.text, -1) {
				if n++; seen[m[2]] || len(m[2]) < 40 {
					t.Errorf("%s of %s is %d characters long and known before: %v", m[1], d.name, len(m[2]), seen[m[2]])
				}
				seen[m[2]] = true
			}
		}
		if n != 3 {
			t.Errorf("%d secrets were made, want 3", n)
		}
	}
}

// TestHelmValuesListed: README.md names every value, and none that is not there.
func TestHelmValuesListed(t *testing.T) {
	values, err := os.ReadFile(filepath.Join(chart(t), "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(chart(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := os.ReadFile(filepath.Join(chart(t), "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	top := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Za-z_]+):`).FindAllStringSubmatch(string(values), -1) {
		top[m[1]] = true
		if !regexp.MustCompile("`" + m[1] + "[`.]").Match(readme) {
			t.Errorf("README.md does not name the value %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([A-Za-z_]+)").FindAllStringSubmatch(string(readme), -1) {
		if !top[m[1]] {
			t.Errorf("README.md names the value %s, which values.yaml has not", m[1])
		}
	}
	helpers, err := os.ReadFile(filepath.Join(chart(t), "templates", "_helpers.tpl"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(helpers), `{{- define "sluice.values" -}}`)
	list, _, _ = strings.Cut(list, "{{- end }}")
	known := strings.Fields(list)
	for name := range top {
		if !slices.Contains(known, name) {
			t.Errorf("_helpers.tpl does not name the value %s: it would be called passed over", name)
		}
	}
	for _, name := range known {
		if !top[name] && name != "global" {
			t.Errorf("_helpers.tpl names the value %s, which values.yaml has not", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^    "([A-Za-z_]+)": \{`).FindAllStringSubmatch(string(schema)[strings.Index(string(schema), `"properties": {`+"\n    \"replicaCount"):], -1) {
		if !top[m[1]] {
			t.Errorf("the schema has the value %s, which values.yaml has not", m[1])
		}
	}
}

// TestHelmTakesLiteLLM: the values of LiteLLM's chart, every one with its default there,
// need no more than what docs/deploy-kubernetes.md says of them.
func TestHelmTakesLiteLLM(t *testing.T) {
	values := filepath.Join("testdata", "litellm-values.yaml")
	docs := render(t, "image.repository=sluice,db.useExisting=true,db.deployStandalone=false,db.endpoint=pg,masterkeySecretName=keys", "-f", values)
	pod := object(docs, "StatefulSet", "litellm")
	for _, want := range []string{
		`value: "postgresql://$(DATABASE_USERNAME):$(DATABASE_PASSWORD)@$(DATABASE_HOST)/$(DATABASE_NAME)"`,
		"terminationGracePeriodSeconds: 90", "readinessProbe:\n            httpGet: {path: /health/readiness, port: health}\n            failureThreshold: 3",
		"startupProbe:\n            httpGet: {path: /health/liveliness, port: health}\n            failureThreshold: 30", "runAsNonRoot: true", "memory: 8Gi",
		`items: [{key: "masterkey", path: "litellm_master_key"}]`, "replicas: 1",
	} {
		if !strings.Contains(pod, want) {
			t.Errorf("the pod has no %q:\n%s", want, tail(pod, 6000))
		}
	}
	if job := object(docs, "Job", "migration"); !strings.Contains(job, "argocd.argoproj.io/hook: PreSync") || strings.Contains(job, "helm.sh/hook") {
		t.Errorf("the job is of another hook: %s", tail(job, 3000))
	}
}
