#!/usr/bin/env bash
# What can be tested only with a vendor's weights: tests/real_weights.sh NAME [more options of pixtral ask]
# Pulls and verifies the model, asks the worked examples, runs one evaluation of 50 questions, and prints a report to
# paste into an issue, also when it is stopped. About ten minutes beside the download.
# PIXTRAL=/path/to/pixtral names another program than this checkout's, EVAL=TASK another evaluation than chartqa.
set -uo pipefail
name="${1:?Usage: tests/real_weights.sh NAME (see: pixtral models)}"
shift
home="$(cd "$(dirname "$0")/.." && pwd)"
pixtral="${PIXTRAL:-$home/.venv/bin/pixtral}"
[ -x "$pixtral" ] || pixtral="$(command -v pixtral)" || { echo "There is no pixtral: make demo" >&2; exit 2; }
task="${EVAL:-chartqa}"
examples="$home/examples"
scratch="$(mktemp -d)"
report="$scratch/report.md"
failed=0
exec 3>&1
trap 'cat "$report" >&3; rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

# step TITLE WORDS…: one command of pixtral, and in the report what it printed, how it ended and how long it took.
step() {
    local title="$1" begin status
    shift
    begin=$(date +%s)
    {
        printf '\n### %s\n\n```console\n$ pixtral' "$title"
        printf ' %q' "$@"
        printf '\n'
        "$pixtral" "$@" 2>&1 < /dev/null
    } >> "$report"
    status=$?
    printf '```\nexit status %s, %s s\n' "$status" "$(($(date +%s) - begin))" >> "$report"
    [ "$status" -eq 0 ] || failed=$((failed + 1))
    printf '%s: exit status %s\n' "$title" "$status" >&2
}

# look TITLE QUESTION WORDS…: a question about pictures, with its statistics, not saved.
look() {
    local title="$1" question="$2"
    shift 2
    step "$title" ask "$question" -m "$name" --no-log --no-stdin -v "$@"
}

printf '## %s on real weights\n' "$name" >> "$report"
step "This machine" doctor
if [ "$name" != demo ] && [ ! -d "$name" ]; then
    step "Pull" pull "$name"
    step "Verify" models verify "$name"
fi
step "What it is" models show "$name"
look "A scene" "Is this person really big, or is the building small?" --image "$examples/near-far.png" "$@"
look "A sketch to a page" "Write HTML to create a website like this" --image "$examples/sketch.png" -x html "$@"
look "A chart" "At which step did things start to go wrong for the red line?" --image "$examples/runs.png" "$@"
look "A table" "Read the chart." --image "$examples/bars.png" --schema '[color, value:int]' --format csv "$@"
look "Two images" "What differs between {1} and {2}?" --image "$examples/bars.png" --image "$examples/runs.png" "$@"
step "An evaluation" eval "$task" -m "$name" --limit 50 --seed 1 -o "$scratch/run"

[ "$failed" -eq 0 ] || printf '\n%s of the commands failed.\n' "$failed" >> "$report"
exit "$((failed > 0))"
