"""Completion of ``bench`` and ``bench run`` in a shell: ``bench run -sc install=bash``, and zsh and fish.

Hydra's own scripts take the command for the application itself, and would ask ``bench`` where ``bench run`` must be
asked. These ask ``bench run -sc query=SHELL`` for what the words behind ``run`` may go on with, one candidate a line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

COMMANDS = (
    "run", "check", "tune", "table", "report", "figures", "status", "runs", "replay", "publish", "predict", "generate",
    "push", "dashboard",
)  # fmt: skip
"""What may follow ``bench``."""
NAMES = "bench rnn-bench"

BASH = f"""\
_bench_completion() {{
    local line="${{COMP_LINE:0:COMP_POINT}}" words word each kept=""
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    word="${{words[${{#words[@]}} - 1]}}"
    COMPREPLY=()
    if (( ${{#words[@]}} == 2 )); then
        for each in $(compgen -W "{" ".join(COMMANDS)}" -- "$word"); do COMPREPLY+=("$each "); done
    elif [[ ${{words[1]}} == run || ${{words[1]}} == check || ${{words[1]}} == tune ]]; then
        # Where = or : parts words, only what stands behind the last of them is replaced.
        [[ $COMP_WORDBREAKS == *=* && $word == *=* ]] && kept="${{word%=*}}="
        [[ $COMP_WORDBREAKS == *:* && ${{word#"$kept"}} == *:* ]] && kept="${{word%:*}}:"
        while IFS= read -r each; do COMPREPLY+=("${{each#"$kept"}}"); done < <(
            COMP_LINE="bench ${{words[*]:2}}" "${{words[0]}}" run -sc query=bash 2> /dev/null
        )
    fi
}}
complete -o nospace -o default -F _bench_completion {NAMES}"""

ZSH = f"""\
_bench_completion() {{
    local -a found
    if (( CURRENT == 2 )); then
        compadd -- {" ".join(COMMANDS)}
    elif [[ $words[2] == run || $words[2] == check || $words[2] == tune ]]; then
        local line="bench ${{(j: :)words[3,CURRENT-1]}} $PREFIX"
        found=("${{(@f)$(COMP_LINE="$line" $words[1] run -sc query=zsh 2> /dev/null)}}")
        [[ -n $found[1] ]] && compadd -S '' -- $found || _files
    else
        _files
    fi
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
compdef _bench_completion {NAMES}"""

FISH = f"""\
function __bench_completion
    set -l words (commandline -opc)
    set -l command $words[1]
    set -e words[1..2]
    env COMP_LINE="bench "(string join ' ' -- $words (commandline -ct)) $command run -sc query=fish 2> /dev/null
end
for each in {NAMES}
    complete -c $each -n '__fish_is_first_token' -f -a '{" ".join(COMMANDS)}'
    complete -c $each -n '__fish_seen_subcommand_from run check tune' -f -a '(__bench_completion)'
end"""

SCRIPTS = {
    "install": {"bash": BASH, "zsh": ZSH, "fish": FISH},
    "uninstall": {
        "bash": f"complete -r {NAMES}; unset -f _bench_completion",
        "zsh": f"compdef -d {NAMES}; unfunction _bench_completion",
        "fish": f"complete -e -c {NAMES.replace(' ', ' -c ')}; functions -e __bench_completion",
    },
}
"""Script by what is done and by shell."""


def completion(words: Sequence[str]) -> str:
    """Return what ``bench run -sc`` prints.

    Args:
        words: What stands behind the flag.

    Raises:
        ValueError: It is not one of ``install``, ``uninstall`` and ``query`` with one of the shells.
    """
    action, _, shell = words[0].partition("=") if words else ("", "", "")
    if len(words) != 1 or action not in (*SCRIPTS, "query") or shell not in SCRIPTS["install"]:
        shells = ", ".join(SCRIPTS["install"])
        raise ValueError(f"-sc must be install, uninstall or query with one of {shells}, got {' '.join(words)!r}")
    if action != "query":
        return SCRIPTS[action][shell]
    from bench.config.hydra_app import candidates

    return "\n".join(candidates(os.environ.get("COMP_LINE", "bench ")))
