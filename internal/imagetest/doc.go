// Package imagetest tests what is shipped: the container image, the compose
// stack, the packages with their systemd units, the VM image and the Helm chart,
// each built by its own script and started for real. Everything but this file
// has the build tag image; `make image-test`, `make compose-test` and `make
// helm-test` run it, as root.
//
// A run lives in a network, process and mount namespace of its own (see
// TestMain): whatever it starts, mounts or routes ends with it, also when it is
// killed, and the addresses that it takes are taken from nobody. What needs the
// world, such as a package mirror, is run with [Command].Outside. The Docker
// engine is private to the run; [Engine] starts it when the first test asks.
package imagetest
