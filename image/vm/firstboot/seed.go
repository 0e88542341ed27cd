package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"sluice/internal/env"
)

// seed is what a NoCloud seed asks for, checked.
type seed struct {
	instance    string // applied once for each
	hostname    string // "" leaves it
	keys        []string
	files       []file
	environment map[string]string
	credentials map[string]string // secrets by the small letters of their variable
	passedOver  []string          // keys that are understood and have no meaning here
}

// file is one of write_files.
type file struct {
	path    string
	content []byte
	mode    uint32
	user    string // "" is the default of the folder
	group   string
}

// userData are the keys of cloud-init that mean the same here, and ours.
type userData struct {
	Hostname string   `yaml:"hostname"`
	FQDN     string   `yaml:"fqdn"`
	Keys     []string `yaml:"ssh_authorized_keys"`
	Files    []struct {
		Path        string `yaml:"path"`
		Content     string `yaml:"content"`
		Encoding    string `yaml:"encoding"`
		Owner       string `yaml:"owner"`
		Permissions string `yaml:"permissions"`
	} `yaml:"write_files"`
	Sluice struct {
		Environment map[string]string `yaml:"environment"`
		Credentials map[string]string `yaml:"credentials"`
	} `yaml:"sluice"`
}

// without are keys that hypervisors write into every seed and that ask for
// nothing that this machine does not already do, or cannot do: it has no users
// but root, no passwords, and upgrades nothing by itself.
var without = []string{
	"chpasswd", "disable_root", "growpart", "manage_etc_hosts", "package_update", "package_upgrade", "password",
	"preserve_hostname", "resize_rootfs", "ssh_pwauth", "user", "users",
}

// folders are those that write_files may write into, the first match counts.
var folders = []struct {
	dir   string
	mode  uint32
	group string
}{
	{"/etc/sluice/credentials/", 0o600, "root"},
	{"/etc/sluice/", 0o640, "sluice"},
	{"/etc/systemd/network/", 0o644, "root"},
	{"/etc/systemd/system/sluice.service.d/", 0o644, "root"},
	{"/etc/nftables.d/", 0o644, "root"},
	{"/usr/local/share/ca-certificates/", 0o644, "root"},
}

var (
	hostnames = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,62}[a-zA-Z0-9])?$`)
	sshKeys   = regexp.MustCompile(`^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) ([A-Za-z0-9+/]+=*)( [^\n\r]*)?$`)
	variables = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// parse reads a seed. The error names everything that is wrong with it, and
// never a value: seeds hold secrets.
func parse(raw *rawSeed) (*seed, error) {
	var data userData
	s := &seed{}
	passed, err := decode(raw.user, &data)
	if err != nil {
		return nil, err
	}
	s.passedOver = passed
	if raw.network {
		s.passedOver = append(s.passedOver, "network-config (write a file of /etc/systemd/network instead)")
	}
	var meta struct {
		Instance string `yaml:"instance-id"`
		Local    string `yaml:"local-hostname"`
		Hostname string `yaml:"hostname"`
	}
	if yaml.Unmarshal(raw.meta, &meta) != nil {
		return nil, fmt.Errorf("meta-data is no YAML with instance-id and local-hostname")
	}
	if s.instance = meta.Instance; s.instance == "" {
		sum := sha256.Sum256(append(bytes.Clone(raw.meta), raw.user...))
		s.instance = "sha256-" + hex.EncodeToString(sum[:8])
	}
	for _, name := range []string{data.Hostname, data.FQDN, meta.Local, meta.Hostname} {
		if s.hostname == "" {
			s.hostname = name
		}
	}
	return s, s.check(&data)
}

// decode reads user-data into data and returns the keys that were passed over.
func decode(text []byte, data *userData) ([]string, error) {
	const instead = "this machine reads a part of cloud-init's keys (docs/deploy-vm.md); build it with VM_CLOUD_INIT=1 for all of them"
	if bytes.HasPrefix(text, []byte("#!")) || bytes.HasPrefix(text, []byte("Content-Type:")) {
		return nil, fmt.Errorf("user-data is a script or has several parts; %s", instead)
	}
	var top map[string]yaml.Node
	if err := yaml.Unmarshal(text, &top); err != nil {
		return nil, fmt.Errorf("user-data is no YAML object%s", place(err))
	}
	var passed, unknown []string
	for name, node := range top {
		switch {
		case slices.Contains(without, name):
			passed = append(passed, name)
			delete(top, name)
		case !slices.Contains([]string{"hostname", "fqdn", "ssh_authorized_keys", "write_files", "sluice"}, name):
			unknown = append(unknown, fmt.Sprintf("%q in line %d", name, node.Line))
		}
	}
	slices.Sort(passed)
	slices.Sort(unknown)
	if unknown != nil {
		return nil, fmt.Errorf("user-data: unknown key %s; %s", strings.Join(unknown, ", "), instead)
	}
	rest, err := yaml.Marshal(top)
	if err != nil {
		return nil, fmt.Errorf("user-data cannot be read")
	}
	in := yaml.NewDecoder(bytes.NewReader(rest))
	in.KnownFields(true)
	if err := in.Decode(data); err != nil && len(top) > 0 {
		return nil, fmt.Errorf("user-data: %s", harmless(err))
	}
	return passed, nil
}

// place is the line that a YAML error names, without the text of that line.
func place(err error) string {
	if at := regexp.MustCompile(`line \d+`).FindString(err.Error()); at != "" {
		return " (" + at + ")"
	}
	return ""
}

// harmless tells which field a decoding error is about. The library's text
// quotes values, which may be secrets.
func harmless(err error) string {
	if m := regexp.MustCompile(`field (\S+) not found`).FindStringSubmatch(err.Error()); m != nil {
		return fmt.Sprintf("unknown key %q below a known one", m[1])
	}
	return "a value has the wrong type: hostname and content are text, ssh_authorized_keys a list of text, write_files a list of objects, " +
		"environment and credentials objects of text"
}

// check fills the seed from data.
func (s *seed) check(data *userData) error {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if s.hostname != "" && !hostnames.MatchString(s.hostname) {
		say("hostname %q is none: letters, digits, dots and dashes", s.hostname)
	}
	for i, key := range data.Keys {
		key = strings.TrimSpace(key)
		if !sshKeys.MatchString(key) {
			say("ssh_authorized_keys: entry %d is no public key of the form 'ssh-ed25519 AAAA… name'", i+1)
		}
		s.keys = append(s.keys, key)
	}
	for i, f := range data.Files {
		out, err := checkFile(f.Path, f.Content, f.Encoding, f.Owner, f.Permissions)
		if err != nil {
			say("write_files: entry %d: %v", i+1, err)
		}
		s.files = append(s.files, out)
	}
	s.environment, s.credentials = map[string]string{}, map[string]string{}
	for name, value := range data.Sluice.Environment {
		switch {
		case !variables.MatchString(name):
			say("environment: %q is no name of a variable", name)
		case env.SecretName(name):
			say("environment: %s is a secret: put it under credentials", name)
		case strings.ContainsAny(value, "\n\r\x00"):
			say("environment: the value of %s has more than one line", name)
		}
		s.environment[name] = value
	}
	for name, value := range data.Sluice.Credentials {
		if !variables.MatchString(name) || value == "" {
			say("credentials: %q is no name of a variable, or has no value", name)
		}
		s.credentials[strings.ToLower(name)] = value
	}
	slices.Sort(wrong)
	return sentence(wrong)
}

func checkFile(name, content, encoding, owner, permissions string) (file, error) {
	f := file{path: name, content: []byte(content), user: "root"}
	found := false
	for _, d := range folders {
		if strings.HasPrefix(name, d.dir) && len(name) > len(d.dir) {
			f.mode, f.group, found = d.mode, d.group, true
			break
		}
	}
	if name == "/etc/sluice/environment" {
		f.mode, f.group = 0o600, "root" // only systemd reads it
	}
	if !found || path.Clean(name) != name {
		return f, fmt.Errorf("path %q is not below /etc/sluice, /etc/systemd/network, /etc/systemd/system/sluice.service.d, "+
			"/etc/nftables.d or /usr/local/share/ca-certificates", name)
	}
	switch encoding {
	case "", "text/plain":
	case "b64", "base64":
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(content), ""))
		if err != nil {
			return f, fmt.Errorf("content of %s is not base64", name)
		}
		f.content = b
	default:
		return f, fmt.Errorf("encoding %q of %s is not known: b64 or none", encoding, name)
	}
	if permissions != "" {
		mode, err := strconv.ParseUint(permissions, 8, 32)
		if err != nil || mode > 0o777 {
			return f, fmt.Errorf("permissions %q of %s are no octal number up to 0777, in quotes", permissions, name)
		}
		f.mode = uint32(mode)
	}
	if owner != "" {
		var ok bool
		if f.user, f.group, ok = strings.Cut(owner, ":"); !ok || f.user == "" || f.group == "" {
			return f, fmt.Errorf("owner %q of %s is not user:group", owner, name)
		}
	}
	return f, nil
}
