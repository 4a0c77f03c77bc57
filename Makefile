# Rhea: build, check, install. `make help` lists the targets.
SRC := $(dir $(realpath $(firstword $(MAKEFILE_LIST))))
SRC := $(SRC:/=)
BUILD ?= build
CONFIG := $(BUILD)/config.mk

ifeq ($(filter help clean deps demo check check-quick check-style format,$(MAKECMDGOALS)),)
-include $(CONFIG)
endif
CC ?= cc
PREFIX ?= /usr/local

SUBDIRS   = $(patsubst $(SRC)/%/,%,$(wildcard $(SRC)/$(1)/*/))
LIB_DIRS := core accel/jit accel/jit/host/x86_64 accel/kvm $(call SUBDIRS,target) target block chardev \
            net ui monitor migration $(call SUBDIRS,hw) hw
LIB_SRC  := $(foreach d,$(LIB_DIRS),$(patsubst $(SRC)/%,%,$(wildcard $(SRC)/$(d)/*.c)))
MAIN_SRC := $(patsubst $(SRC)/%,%,$(wildcard $(SRC)/system/*.c))
TEST_SRC := $(patsubst $(SRC)/%,%,$(wildcard $(SRC)/tests/unit/*.c $(SRC)/tests/cpu/*.c \
            $(SRC)/tests/device/*.c $(SRC)/tests/block/*.c))
FUZZ_SRC := $(patsubst $(SRC)/%,%,$(wildcard $(SRC)/tests/fuzz/fuzz-*.c))

WARN   := -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers \
          -Wstrict-prototypes -Wmissing-prototypes -Wno-override-init
CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE $(WARN) -I$(SRC) -I$(BUILD) $(DEPS_CFLAGS) $(CFLAGS) \
             $(EXTRA_CFLAGS) -MMD -MP -pthread -fno-strict-aliasing -fwrapv
LIBS = $(DEPS_LIBS) -lm -pthread $(EXTRA_LDFLAGS)

LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
MAIN_OBJ := $(MAIN_SRC:%.c=$(BUILD)/%.o)
TESTS    := $(TEST_SRC:%.c=$(BUILD)/%)
FUZZERS  := $(FUZZ_SRC:%.c=$(BUILD)/%)
TOOLS    := $(patsubst $(SRC)/tools/%.c,$(BUILD)/%,$(wildcard $(SRC)/tools/rhea-*.c))
IMG_OBJ  := $(patsubst $(SRC)/%.c,$(BUILD)/%.o,$(wildcard $(SRC)/tools/img/*.c))
LINKS    := $(addprefix rhea-system-,x86_64 i386 $(if $(wildcard $(SRC)/target/riscv),riscv64 riscv32) \
            $(if $(wildcard $(SRC)/target/arm64),aarch64))

all: $(BUILD)/rhea $(TOOLS) tests-build

# Made anew when configure has changed (a pull brought a new dependency), with the same options.
$(CONFIG): $(SRC)/configure
	@$(SRC)/configure --build-dir=$(BUILD) $(CONFIGURED_WITH)

$(BUILD)/librhea.a: $(LIB_OBJ)
	@rm -f $@; ar rcs $@ $^

$(BUILD)/rhea: $(MAIN_OBJ) $(BUILD)/librhea.a
	@echo "  LINK  $@"
	@$(CC) -o $@ $(MAIN_OBJ) -Wl,--whole-archive $(BUILD)/librhea.a -Wl,--no-whole-archive $(LIBS)
	@for l in $(LINKS); do ln -sf rhea $(BUILD)/$$l; done

$(BUILD)/%.o: $(SRC)/%.c $(CONFIG)
	@mkdir -p $(@D)
	@echo "  CC    $*.c"
	@$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/rhea-img: $(IMG_OBJ)
$(TOOLS): $(BUILD)/%: $(BUILD)/tools/%.o $(BUILD)/librhea.a
	@echo "  LINK  $@"
	@$(CC) -o $@ $(filter %.o,$^) $(BUILD)/librhea.a $(LIBS)

tests-build: $(TESTS)
$(TESTS): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/librhea.a
	@echo "  LINK  $@"
	@$(CC) -o $@ $< $(BUILD)/librhea.a $(LIBS)

# Fuzz targets need `configure --cc=clang --enable-fuzz` (see scripts/fuzz).
fuzz-build: $(FUZZERS)
$(FUZZERS): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/librhea.a
	@echo "  LINK  $@"
	@$(CC) -fsanitize=fuzzer,address,undefined -o $@ $< $(BUILD)/librhea.a $(LIBS)

deps:
	@$(SRC)/scripts/install-deps

check check-quick check-style check-long:
	@$(SRC)/tests/run $@

demo:
	@$(SRC)/scripts/demo

bench:
	@$(SRC)/tests/bench/run

format:
	@clang-format -i $$(git -C $(SRC) ls-files '*.c' '*.h')

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 755 $(BUILD)/rhea $(DESTDIR)$(PREFIX)/bin/rhea
	for t in $(TOOLS); do install -m 755 $$t $(DESTDIR)$(PREFIX)/bin/; done
	for l in $(LINKS); do ln -sf rhea $(DESTDIR)$(PREFIX)/bin/$$l; done
	install -m 644 $(SRC)/docs/rhea.1 $(DESTDIR)$(PREFIX)/share/man/man1/rhea.1
	install -m 644 $(SRC)/docs/rhea-img.1 $(DESTDIR)$(PREFIX)/share/man/man1/rhea-img.1

clean:
	rm -rf $(BUILD)

help:
	@echo "make               build $(BUILD)/rhea"
	@echo "make demo          install what is missing, build, boot a Debian kernel here"
	@echo "make check         the whole test-suite (check-quick: without guests)"
	@echo "make check-style   format, headers, folder rules, globals"
	@echo "make bench         side by side with the distribution's QEMU"
	@echo "make install       PREFIX=$(PREFIX) DESTDIR="
	@echo "make format clean deps"

-include $(LIB_OBJ:.o=.d) $(MAIN_OBJ:.o=.d) $(TOOLS:$(BUILD)/%=$(BUILD)/tools/%.d) $(IMG_OBJ:.o=.d) $(TESTS:=.d)
.PHONY: all tests-build fuzz-build deps check check-quick check-style check-long demo bench format \
        install clean help
.SECONDARY:
