//go:build image

package imagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// pauseImage holds a pod's namespaces.
const pauseImage = "sluice.test/pause:1"

// files are the configurations of the cluster's programs, by name.
func (c *Cluster) files() map[string]string {
	return map[string]string{
		"tokens": "admintoken,admin,admin,system:masters\n",
		"kubeconfig": `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://` + Node + `:6443", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: admintoken}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`,
		"containerd.toml": c.containerdConfig(),
		"cni/10.conflist": fmt.Sprintf(`{"cniVersion":"1.0.0","name":"b","plugins":[{"type":"bridge","bridge":"cni0","isDefaultGateway":true,"hairpinMode":true,
  "ipam":{"type":"host-local","dataDir":%q,"ranges":[[{"subnet":%q,"rangeStart":%q,"gateway":%q}]]}}]}`, c.dir+"/ipam", podNet, podFirst, Node),
		"kubelet.yaml": c.kubeletConfig(),
		"proxy.yaml": fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: %s}
mode: iptables
hostnameOverride: %s
clusterCIDR: %s
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, c.Kubeconfig(), clusterName, podNet),
	}
}

func (c *Cluster) containerdConfig() string {
	return fmt.Sprintf(`version = 2
root = "%[1]s/c/root"
state = "%[1]s/c/state"
oom_score = 0
[grpc]
  address = "%[2]s"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[3]s"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "%[1]s/cni"
`, c.dir, c.socket(), pauseImage)
}

// kubeletConfig: what the machine has not got (swap off, control groups of
// version 2, a file system whose use is counted) is not asked for.
func (c *Cluster) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[1]s
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /%[2]s
cgroupsPerQOS: true
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
localStorageCapacityIsolation: false
resolvConf: /dev/null
clusterDNS: [%[1]s]
clusterDomain: cluster.local
healthzPort: 0
podLogsDir: %[3]s/podlogs
containerRuntimeEndpoint: unix://%[4]s
syncFrequency: 10s
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
`, Node, filepath.Base(RunDir()), c.dir, c.socket())
}

// pause builds the image of the program that holds a pod's namespaces.
func (c *Cluster) pause() (string, error) {
	dir := filepath.Join(c.dir, "pause")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	source := `package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
`
	for name, text := range map[string]string{"main.go": source, "go.mod": "module pause\n\ngo 1.24\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	build := exec.CommandContext(context.Background(), "go", "build", "-o", "pause", ".")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/pause"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{}},
	})
	if err != nil {
		return "", err
	}
	empty := &image{config: config, blobs: map[string][]byte{}}
	program, err := os.ReadFile(filepath.Join(dir, "pause"))
	if err != nil {
		return "", err
	}
	with, err := empty.with(map[string][]byte{"pause": program})
	if err != nil {
		return "", err
	}
	tar := filepath.Join(dir, "pause.tar")
	return tar, with.write(tar, pauseImage)
}
