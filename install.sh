#!/bin/sh
# Installs BCAI for one user: no root, no system Python touched, everything in one folder.
# Users run it as `sh install.sh`, or through `curl ... | sh`; `make install` runs it with --dev.
# The whole script is one function called in its last line, so that a cut download runs nothing.

usage() {
    cat <<'TEXT'
Usage: sh install.sh [options]

  --from SOURCE   what to install: a checkout, a wheel or a URL that pip understands
                  (default: the checkout that holds this script)
  --venv DIR      private Python environment (default: ~/.local/share/bcai/venv)
  --bin DIR       where the `bcai` command is linked (default: ~/.local/bin)
  --torch WHICH   auto, cpu, cuda or skip (default: $TORCH, else auto: CPU unless an NVIDIA GPU
                  is present)
  --dev           for contributors: editable, with the development tools, no link
  --uninstall     remove the environment and the link; jobs and settings stay
  --help          this text

Environment: PYTHON names the interpreter (3.11 or newer), TORCH as --torch.
TEXT
}

say() { printf '%s\n' "install: $*" >&2; }

die() {
    say "error: $*"
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.11 or newer"
        command -v "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "found no Python 3.11 or newer; install one (Debian 12, Ubuntu 24.04: apt install python3 \
python3-pip), or name one: PYTHON=/path/to/python3.12"
}

# Debian ships Python without ensurepip, some images without venv: virtualenv then does the same,
# installed by pip into a folder of its own, so that an externally managed Python (PEP 668) agrees.
make_environment() {
    python=$1 venv=$2
    if [ -x "$venv/bin/python" ] && is_new_enough "$venv/bin/python" &&
        "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    rm -rf "$venv"
    mkdir -p "$(dirname "$venv")"
    if "$python" -m venv "$venv" >/dev/null 2>&1; then
        return
    fi
    rm -rf "$venv"
    say "this Python makes no environments itself; fetching virtualenv"
    "$python" -m pip --version >/dev/null 2>&1 ||
        die "$python has neither venv nor pip (Debian, Ubuntu: apt install python3-venv)"
    tool=$(mktemp -d)
    "$python" -m pip install -qq --target "$tool" virtualenv || {
        rm -rf "$tool"
        die "pip could not fetch virtualenv; see its message above"
    }
    PYTHONPATH=$tool "$python" -m virtualenv --quiet "$venv" || {
        rm -rf "$tool" "$venv"
        die "virtualenv could not make $venv"
    }
    rm -rf "$tool"
}

install_packages() {
    python=$1/bin/python source=$2 dev=$3
    say "fetching packages; PyTorch's CPU build alone is about 200 MB the first time"
    "$python" -m pip install -qq --upgrade 'pip>=25.1' || die "pip could not upgrade itself"
    if [ "$dev" = yes ]; then
        "$python" -m pip install -qq --editable "$source" || die "pip could not install BCAI"
    else
        # --force-reinstall: a checkout keeps its version while its code changes.
        "$python" -m pip install -qq --force-reinstall --no-deps "$source" &&
            "$python" -m pip install -qq "$source" || die "pip could not install BCAI"
    fi
    "$python" -m bcai.cli.install_torch "$4" || die "PyTorch is not installed; see above"
    # By name: pip completes the copy that was just installed, and asks no index for it.
    [ "$4" = skip ] && set -- bcai || set -- 'bcai[ml]'
    [ "$dev" = no ] || set -- "$@" --group "$source/pyproject.toml:dev"
    "$python" -m pip install -qq "$@" || die "pip could not install what BCAI's jobs use"
}

link_command() {
    venv=$1 bin=$2
    mkdir -p "$bin"
    if [ -e "$bin/bcai" ] && [ ! -L "$bin/bcai" ]; then
        die "$bin/bcai exists and is not ours; move it, or give --bin DIR"
    fi
    ln -sf "$venv/bin/bcai" "$bin/bcai"
    say "installed: $("$venv/bin/bcai" --version 2>/dev/null || echo bcai) at $bin/bcai"
    case ":$PATH:" in
        *":$bin:"*) ;;
        *) say "$bin is not on your PATH; add: export PATH=\"$bin:\$PATH\"" ;;
    esac
    say "next: bcai doctor"
}

uninstall() {
    venv=$1 bin=$2
    if [ -L "$bin/bcai" ] && [ "$(readlink "$bin/bcai")" = "$venv/bin/bcai" ]; then
        rm -f "$bin/bcai"
    fi
    if [ -f "$venv/pyvenv.cfg" ]; then
        rm -rf "$venv"
        say "removed $venv; jobs and settings stay where they are"
    else
        say "nothing to remove at $venv"
    fi
}

# The checkout that holds this script; nothing when the script came through a pipe.
find_checkout() {
    [ -f "$0" ] || return 0
    folder=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
    if [ -f "$folder/pyproject.toml" ] && [ -d "$folder/src/bcai" ]; then
        printf '%s\n' "$folder"
    fi
}

main() {
    set -eu
    home=${HOME:?HOME is not set}
    source='' venv="$home/.local/share/bcai/venv" bin="$home/.local/bin"
    dev=no torch=${TORCH:-auto} act=install
    while [ $# -gt 0 ]; do
        case $1 in
            --dev) dev=yes ;;
            --uninstall) act=uninstall ;;
            --help | -h) usage && return ;;
            --from | --venv | --bin | --torch)
                [ $# -ge 2 ] || die "$1 needs a value; see --help"
                case $1 in
                    --from) source=$2 ;;
                    --venv) venv=$2 ;;
                    --bin) bin=$2 ;;
                    --torch) torch=$2 ;;
                esac
                shift
                ;;
            *) die "unknown option $1; see --help" ;;
        esac
        shift
    done
    case $torch in auto | cpu | cuda | skip) ;; *) die "--torch: found $torch, expected auto, cpu, cuda or skip" ;; esac
    case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
    case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
    if [ "$act" = uninstall ]; then
        uninstall "$venv" "$bin"
        return
    fi
    [ -n "$source" ] || source=$(find_checkout)
    [ -n "$source" ] || die "BCAI is not on PyPI yet: name a checkout, wheel or URL with --from"
    if [ -d "$source" ]; then
        source=$(CDPATH='' cd -- "$source" && pwd)
    elif [ "$dev" = yes ]; then
        die "--dev needs a checkout"
    fi
    python=$(find_python)
    say "$("$python" --version) at $python, environment in $venv"
    make_environment "$python" "$venv"
    install_packages "$venv" "$source" "$dev" "$torch"
    [ "$dev" = yes ] || link_command "$venv" "$bin"
}

main "$@"
