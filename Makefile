# SPDX-License-Identifier: Apache-2.0
#
# make demo      install what is missing, build, and show the whole on a guest of its own
# make test      install what is missing, build, and run all tests
# make help      everything else

VERSION := 0.1.0
PREFIX  := /usr/local
DESTDIR :=

GO     := go
CC     := gcc
CFLAGS := -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror

# Debian packages: to build, to mount, to run the demo, to run the tests and benchmarks.
BUILD_PACKAGES := gcc libc6-dev make pkg-config nbdkit nbdkit-plugin-dev libnbd-dev libvirt-dev
MOUNT_PACKAGES := fuse3
# A libvirt and guests of its own: no service is started, none has to run.
GUEST_PACKAGES := libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 qemu-utils
DEMO_PACKAGES  := $(GUEST_PACKAGES) libnbd-bin e2fsprogs
TEST_PACKAGES  := $(GUEST_PACKAGES) virtnbdbackup e2fsprogs xfsprogs fdisk mount man-db fio rsync unzip openssh-server openssh-client netcat-openbsd libxml2-utils lvm2 sasl2-bin libsasl2-modules libsasl2-modules-db gnutls-bin swtpm-tools gddrescue procps
BENCH_PACKAGES := $(GUEST_PACKAGES) virtnbdbackup python3-lz4 fio fuse3 qemu-system-common libnbd-bin

MODULES := . bindings/nbdkit bindings/libnbd bindings/libvirt
LOADER  := plugin/loader/loader.c plugin/loader/flat.c

.PHONY: all help build demo test lint bench deps deps-build deps-mount deps-demo deps-test deps-bench install uninstall clean

all: build

help:
	@sed -n 's/^# make/make/p' Makefile
	@echo "make build     bin/virtnb, bin/nbdkit-virtnb-plugin.so and the library it loads"
	@echo "make lint      gofmt, go vet, staticcheck, imports between packages"
	@echo "make bench     ratios to nbdkit's file plugin, nbdfuse, QEMU's FUSE export, virtnbdbackup and nbdcopy"
	@echo "make install   [DESTDIR=] [PREFIX=$(PREFIX)]; make uninstall takes it away"
	@echo "make deps      the Debian packages for all of this; make clean removes bin/"

# need,PACKAGES installs the packages that are not there.
define need
@missing=$$(for p in $(1); do dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
[ -z "$$missing" ] || { echo "installing:" $$missing; \
sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
$$sudo apt-get update -qq && \
DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }
endef

deps: deps-build deps-mount deps-demo deps-test deps-bench
deps-build:
	$(call need,$(BUILD_PACKAGES))
deps-mount:
	$(call need,$(MOUNT_PACKAGES))
deps-demo: deps-build deps-mount
	$(call need,$(DEMO_PACKAGES))
deps-test: deps-demo deps-mount
	$(call need,$(TEST_PACKAGES))
deps-bench: deps-build
	$(call need,$(BENCH_PACKAGES))

# Go decides itself what has to be built again.
build: deps-build bin/nbdkit-virtnb-plugin.so
	CGO_ENABLED=1 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/virtnb ./cmd/virtnb
	CGO_ENABLED=1 $(GO) build -trimpath -buildmode=c-shared -o bin/virtnb-plugin.so ./plugin/main
	@rm -f bin/virtnb-plugin.h

bin/nbdkit-virtnb-plugin.so: $(LOADER) plugin/loader/flat.h bin/help.h Makefile | deps-build
	$(CC) $(CFLAGS) -fPIC -shared -Ibin $$(pkg-config --cflags nbdkit) \
	  -DVIRTNB_VERSION='"$(VERSION)"' $(LOADER) -o $@

# The help text as a C string: nbdkit shows it before any Go is loaded.
bin/help.h: plugin/help.txt
	@mkdir -p bin
	{ echo '#define VIRTNB_HELP \'; sed 's/["\\]/\\&/g; s/.*/"&\\n" \\/' $<; echo; } > $@

# A libvirt of its own needs root.
demo: deps-demo build
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/virtnb-demo ./tests/demo
	@sudo=; [ "$$(id -u)" = 0 ] || sudo='sudo -E'; $$sudo bin/virtnb-demo

test: deps-test build
	set -e; for m in $(MODULES); do (cd $$m && $(GO) test -timeout 30m ./...); done

lint: deps-build
	@test -z "$$(gofmt -l .)" || { echo "gofmt these:"; gofmt -l .; exit 1; }
	set -e; staticcheck=$$($(GO) tool -n staticcheck); \
	for m in $(MODULES); do (cd $$m && $(GO) vet ./... && $$staticcheck ./...); done
	$(GO) test -run TestImports ./tests

bench: deps-bench build
	tests/bench/run.sh

# mount(8) looks for its helpers in /sbin and nowhere else.
SBINDIR := /sbin

PLUGINDIR = $(shell pkg-config --variable=plugindir nbdkit)

# The programs whose place virtnb takes when it is called by their names.
PEERS := virtnbdbackup virtnbdrestore virtnbdmap
# The commands that share a man page.
RECOVER := boot recoveries resume promote discard

# What is built is installed as it is: root may have no Go in its PATH.
BUILT := bin/virtnb bin/virtnb-plugin.so bin/nbdkit-virtnb-plugin.so

install:
	@for f in $(BUILT); do test -e $$f || { $(MAKE) build; break; }; done
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PLUGINDIR) $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/doc/virtnb
	install -m 755 bin/virtnb $(DESTDIR)$(PREFIX)/bin/
	for p in $(PEERS); do ln -sf virtnb $(DESTDIR)$(PREFIX)/bin/$$p; done
	install -d $(DESTDIR)$(SBINDIR)
	ln -sf $(PREFIX)/bin/virtnb $(DESTDIR)$(SBINDIR)/mount.fuse.virtnb
	install -m 755 bin/nbdkit-virtnb-plugin.so bin/virtnb-plugin.so $(DESTDIR)$(PLUGINDIR)/
	install -m 644 docs/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	for p in $(PEERS); do ln -sf virtnb-$${p#virtnbd}.1 $(DESTDIR)$(PREFIX)/share/man/man1/$$p.1; done
	for c in $(RECOVER); do ln -sf virtnb-recover.1 $(DESTDIR)$(PREFIX)/share/man/man1/virtnb-$$c.1; done
	install -m 644 README.md LICENSE nbdkit-virtnb.conf $(DESTDIR)$(PREFIX)/share/doc/virtnb/

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/virtnb $(DESTDIR)$(SBINDIR)/mount.fuse.virtnb
	rm -f $(DESTDIR)$(PLUGINDIR)/nbdkit-virtnb-plugin.so $(DESTDIR)$(PLUGINDIR)/virtnb-plugin.so
	for p in $(PEERS); do rm -f $(DESTDIR)$(PREFIX)/bin/$$p $(DESTDIR)$(PREFIX)/share/man/man1/$$p.1; done
	for c in $(RECOVER); do rm -f $(DESTDIR)$(PREFIX)/share/man/man1/virtnb-$$c.1; done
	for p in docs/*.1; do rm -f $(DESTDIR)$(PREFIX)/share/man/man1/$${p#docs/}; done
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/virtnb

clean:
	rm -rf bin
