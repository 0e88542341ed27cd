//go:build image

package imagetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The cluster's addresses. Node is the node's, and where pods reach the tests.
const (
	Node        = "198.19.128.1"
	nodeNet     = Node + "/24"
	podNet      = "198.19.128.0/24"
	podFirst    = "198.19.128.20"
	serviceNet  = "198.19.0.0/24"
	clusterName = "node1"
)

// Cluster is a real Kubernetes of one node: API server, controller manager,
// scheduler, kubelet and kube-proxy of .tools/kube, etcd and containerd of
// Debian. Names of services are answered by the tests, volumes are made by them
// ([Cluster.Volumes]), images come from files. It ends with the run.
type Cluster struct {
	dir string
	bin string
	log map[string]string // program → its output
}

var cluster struct {
	once sync.Once
	c    *Cluster
	err  error
}

// Kubernetes starts the run's cluster, once; about 15 s.
func Kubernetes(t testing.TB) *Cluster {
	t.Helper()
	cluster.once.Do(func() {
		c := &Cluster{dir: filepath.Join(RunDir(), "kube"), bin: filepath.Join(Root(t), ".tools", "kube"), log: map[string]string{}}
		cluster.c, cluster.err = c, c.start()
	})
	if cluster.err != nil {
		t.Fatalf("Kubernetes: %v", cluster.err)
	}
	return cluster.c
}

func (c *Cluster) start() error {
	for _, program := range []string{filepath.Join(c.bin, "kubelet"), "etcd", "containerd", "ctr", "iptables", "/usr/lib/cni/bridge"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: run .ci/needs helm", err)
		}
	}
	if err := os.MkdirAll(filepath.Join(c.dir, "cni"), 0o755); err != nil {
		return err
	}
	// Whatever they are told, kubelet and CNI also write here.
	for _, dir := range []string{"/var/lib", "/var/log"} {
		if err := c.cover(dir); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"ip", "link", "add", "cni0", "type", "bridge"},
		{"ip", "addr", "add", nodeNet, "dev", "cni0"},
		{"ip", "link", "set", "cni0", "up"},
		{"ip", "route", "add", "default", "via", Node, "dev", "cni0"}, // the kubelet wants one; it leads nowhere
		{"openssl", "genrsa", "-out", filepath.Join(c.dir, "sa.key"), "2048"},
	} {
		if out, err := exec.CommandContext(context.Background(), args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600); err != nil {
		return err
	}
	for name, text := range c.files() {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := c.makeGroups(); err != nil {
		return err
	}
	return c.startPrograms()
}

// cover lays a folder of the run over one of the machine's, which is then read
// and never written.
func (c *Cluster) cover(dir string) error {
	over := filepath.Join(c.dir, "over", strings.ReplaceAll(dir, "/", "_"))
	for _, d := range []string{over + ".upper", over + ".work"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	options := "lowerdir=" + dir + ",upperdir=" + over + ".upper,workdir=" + over + ".work"
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("cover %s: %w", dir, err)
	}
	return nil
}

// makeGroups makes the control group that the kubelet puts its own below, in
// every hierarchy: removeGroups removes it with the run.
func (c *Cluster) makeGroups() error {
	entries, err := os.ReadDir("/sys/fs/cgroup")
	if err != nil {
		return err
	}
	name := filepath.Base(RunDir())
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil { // version 2
		return os.MkdirAll("/sys/fs/cgroup/"+name, 0o755)
	}
	for _, e := range entries {
		dir := filepath.Join("/sys/fs/cgroup", e.Name(), name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if e.Name() != "cpuset" {
			continue
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} { // version 1 starts with none
			text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, file), text, 0o600)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Cluster) startPrograms() error {
	file := func(name string) string { return filepath.Join(c.dir, name) }
	program := func(name string) string { return filepath.Join(c.bin, name) }
	c.run("etcd", "etcd", "--data-dir", file("etcd"), "--listen-client-urls", "http://127.0.0.1:2379",
		"--advertise-client-urls", "http://127.0.0.1:2379", "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync")
	c.run("containerd", "containerd", "-c", file("containerd.toml"))
	c.run("apiserver", program("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", "--bind-address="+Node, "--advertise-address="+Node,
		"--secure-port=6443", "--cert-dir="+file("certs"), "--service-account-key-file="+file("sa.key"), "--service-account-signing-key-file="+file("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc", "--token-auth-file="+file("tokens"), "--authorization-mode=Node,RBAC",
		"--service-cluster-ip-range="+serviceNet, "--kubelet-preferred-address-types=InternalIP", "--profiling=false")
	if err := c.until("the API server", time.Minute, func() error {
		_, err := c.kubectl("get", "--raw", "/readyz")
		return err
	}); err != nil {
		return err
	}
	c.run("controllers", program("kube-controller-manager"), "--kubeconfig="+file("kubeconfig"),
		"--service-account-private-key-file="+file("sa.key"), "--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false")
	c.run("scheduler", program("kube-scheduler"), "--kubeconfig="+file("kubeconfig"), "--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false")
	if err := c.until("containerd", 20*time.Second, func() error {
		return exec.CommandContext(context.Background(), "ctr", "-a", c.socket(), "version").Run()
	}); err != nil {
		return err
	}
	pause, err := c.pause()
	if err != nil {
		return fmt.Errorf("make the image of pause: %w", err)
	}
	if err := c.load(pause); err != nil {
		return err
	}
	if err := c.serveNames(); err != nil {
		return err
	}
	c.run("kubelet", program("kubelet"), "--kubeconfig="+file("kubeconfig"), "--config="+file("kubelet.yaml"), "--root-dir="+file("kubelet"),
		"--cert-dir="+file("kcert"), "--hostname-override="+clusterName, "--node-ip="+Node)
	c.run("kube-proxy", program("kube-proxy"), "--config="+file("proxy.yaml"))
	return c.until("the node", time.Minute, func() error {
		out, err := c.kubectl("get", "nodes", "--no-headers")
		if err == nil && !strings.Contains(out, " Ready") {
			err = errors.New(strings.TrimSpace(out))
		}
		if err != nil {
			return fmt.Errorf("%w\nkubelet: %s", err, c.logOf("kubelet"))
		}
		return nil
	})
}

// run starts a program that runs until the run ends. That it fails is seen by
// what waits for it.
func (c *Cluster) run(name, path string, args ...string) {
	c.log[name] = filepath.Join(c.dir, name+".log")
	log, err := os.Create(c.log[name])
	if err != nil {
		return
	}
	defer log.Close()
	cmd := exec.CommandContext(context.Background(), path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		_, _ = fmt.Fprintln(log, err)
		return
	}
	go func() { _ = cmd.Wait() }() // ends with the program
}

func (c *Cluster) logOf(name string) string {
	text, _ := os.ReadFile(c.log[name])
	return tail(string(text), 1500)
}

// until is [Wait] for what is not of one test.
func (c *Cluster) until(what string, within time.Duration, cond func() error) error {
	for deadline := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		err := cond()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %v: %w\nAPI server: %s", what, within, err, c.logOf("apiserver"))
		}
	}
}

func (c *Cluster) socket() string { return filepath.Join(c.dir, "c.sock") }

// Kubeconfig is the path of the administrator's.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

func (c *Cluster) kubectl(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, tail(string(out), 1000))
	}
	return string(out), nil
}

// Kubectl runs kubectl as administrator; it must succeed.
func (c *Cluster) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	return c.Command(t, append([]string{filepath.Join(c.bin, "kubectl")}, args...)...).Run(t)
}

// Apply gives an object, as YAML, to the API server.
func (c *Cluster) Apply(t testing.TB, yaml string, args ...string) string {
	t.Helper()
	cmd := c.Command(t, append([]string{filepath.Join(c.bin, "kubectl"), "apply", "-f", "-"}, args...)...)
	cmd.Stdin = yaml
	return cmd.Run(t)
}

// Get reads an object, or a list of them, into v.
func (c *Cluster) Get(t testing.TB, v any, args ...string) {
	t.Helper()
	out := c.Kubectl(t, append([]string{"get", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatal(err)
	}
}

// Helm is a call of helm, to be run or tried.
func (c *Cluster) Helm(t testing.TB, args ...string) Command {
	t.Helper()
	return c.Command(t, append([]string{filepath.Join(Root(t), ".tools", "helm")}, args...)...)
}

// Command is a program that finds the cluster.
func (c *Cluster) Command(t testing.TB, args ...string) Command {
	t.Helper()
	return Command{Args: args, Within: 10 * time.Minute, Env: []string{
		"KUBECONFIG=" + c.Kubeconfig(), "HELM_CACHE_HOME=" + filepath.Join(c.dir, "helm"),
		"HELM_CONFIG_HOME=" + filepath.Join(c.dir, "helm"), "HELM_DATA_HOME=" + filepath.Join(c.dir, "helm"),
	}}
}

// Load gives the node an image, from a file as `docker save` writes it.
func (c *Cluster) Load(t testing.TB, tar string) {
	t.Helper()
	if err := c.load(tar); err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) load(tar string) error {
	out, err := exec.CommandContext(context.Background(), "ctr", "-a", c.socket(), "-n", "k8s.io", "images", "import", tar).CombinedOutput()
	if err != nil {
		return fmt.Errorf("import %s: %w: %s", tar, err, out)
	}
	return nil
}

// Volumes makes n empty volumes of 8 GiB, folders of the run, that any claim
// without a class gets.
func (c *Cluster) Volumes(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		dir, err := os.MkdirTemp(c.dir, "volume")
		if err != nil {
			t.Fatal(err)
		}
		c.Apply(t, fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: %s-%d}
spec:
  capacity: {storage: 8Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  local: {path: %s}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]}}
`, strings.ToLower(filepath.Base(dir)), i, dir, clusterName))
	}
}
