# shellcheck shell=bash
# What quickstart and test share: Debian packages, a new enough Python, a virtual environment. To be sourced.

say() {
    printf '\n== %s\n' "$*" >&2
}

missing_packages() {
    local package
    for package; do
        dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            printf '%s\n' "$package"
    done
}

# Tell whether something that is installed provides this.
provided() {
    dpkg-query --show --showformat='${db:Status-Status} ${Provides}\n' 2>/dev/null | grep "^installed .*\b$1\b" >/dev/null
}

# Print what has services start with the machine, by systemd or by init.
started_with_machine() {
    find /etc/systemd/system /etc/rc[S0-6].d -type l \( -name 'S*' -o -path '/etc/systemd/*' \) 2>/dev/null |
        LC_ALL=C sort
}

# Undo that for the services that the file $1 lacks, as an administrator would: upgrades will leave it so.
disable_new_services() {
    local link
    while read -r link; do
        case $link in
            /etc/rc*) update-rc.d "$(basename "$link" | sed 's/^S[0-9]*//')" disable >&2 ;;
            *) rm -f "$link" ;;
        esac
    done < <(started_with_machine | LC_ALL=C comm -13 "$1" -)
}

# Install what is missing, if we may. No package starts a server: invoke-rc.d asks policy-rc.d, which says no.
# And none has one started with the machine that was not before.
install_packages() {
    local missing
    if ! command -v dpkg-query >/dev/null; then
        say "Not a Debian machine: please see to these packages, or what they are called here: $*"
        return
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        say "Missing, and only root can install them: apt-get install ${missing[*]}"
        return
    fi
    say "Installing ${missing[*]}"
    (
        policy=/usr/sbin/policy-rc.d
        before=$(mktemp)
        started_with_machine >"$before"
        export DEBIAN_FRONTEND=noninteractive PATH="$PATH:/usr/sbin:/sbin"
        trap 'disable_new_services "$before"; rm -f "$before" ${ours:+"$ours"}' EXIT
        trap 'exit 130' INT TERM HUP
        if [ ! -e "$policy" ] && [ ! -L "$policy" ]; then
            ours=$policy
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
        fi
        apt-get -qq update >&2
        apt-get -q -y -o Dpkg::Use-Pty=0 --no-install-recommends install "${missing[@]}" >&2
    )
}

# Print the first Python of 3.10 or newer.
find_python() {
    local python
    for python in python3 python3.13 python3.12 python3.11 python3.10; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            command -v "$python"
            return
        fi
    done
    return 1
}

# Make (or bring up to date) the virtual environment $1 of this project, with the extra $2 (or ""); sets VENV.
make_venv() {
    local project python stamp trash
    VENV=$1
    project=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
    stamp="$project$2 $(cat "$project/setup.cfg" "$project/pyproject.toml" | cksum)"
    if ! "$VENV/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        python=$(find_python) || install_packages python3-venv
        if ! python=$(find_python); then
            echo "cyrsync needs Python 3.10 or newer; none is in PATH ($PATH)" >&2
            return 1
        fi
        # Debian keeps this part of Python's own library in a package apart.
        "$python" -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
        say "Making the virtual environment $VENV with $("$python" --version)"
        "$python" -m venv --clear "$VENV"
    fi
    if [ "$(cat "$VENV/cyrsync-installed" 2>/dev/null)" != "$stamp" ]; then
        say "Installing cyrsync into $VENV"
        [ -e "$project/cyrsync.egg-info" ] || trash=$project/cyrsync.egg-info
        "$VENV/bin/python" -m pip --disable-pip-version-check install --quiet --editable "$project$2" >&2
        rm -rf ${trash:+"$trash"}  # what was installed has all of it in the environment
        printf '%s\n' "$stamp" >"$VENV/cyrsync-installed"
    fi
}
