#!/usr/bin/env bash
# What can be tested only with a vendor's weights: tests/real_weights.sh ministral-3b [more options of pixtral ask]
# Pulls and verifies the model, asks the worked examples, runs one evaluation of 50 questions, and prints a report to
# paste into an issue. About ten minutes beside the download.
set -uo pipefail
name="${1:?Usage: tests/real_weights.sh NAME (see: pixtral models)}"
shift
home="$(cd "$(dirname "$0")/.." && pwd)"
pixtral="$home/.venv/bin/pixtral"
report="$(mktemp)"
failed=0

step() {
    local title="$1"; shift
    local begin end status
    begin=$(date +%s)
    printf '\n### %s\n\n```console\n$ pixtral %s\n' "$title" "$*" >> "$report"
    "$pixtral" "$@" >> "$report" 2>&1 < /dev/null
    status=$?
    end=$(date +%s)
    printf '```\nexit status %s, %s s\n' "$status" "$((end - begin))" >> "$report"
    [ "$status" -eq 0 ] || failed=$((failed + 1))
    printf '%s: exit status %s\n' "$title" "$status" >&2
}

printf '## %s on real weights\n' "$name" >> "$report"
step "This machine" doctor
step "Pull" pull "$name"
step "Verify" models verify "$name"
step "A scene" ask "Is this person really big, or is the building small?" --image "$home/examples/near-far.png" -m "$name" -v -n "$@"
step "A sketch to a page" ask "Write HTML to create a website like this" --image "$home/examples/sketch.png" -m "$name" -x html -n "$@"
step "A chart" ask "At which step did things start to go wrong for the red line?" --image "$home/examples/runs.png" -m "$name" -v -n "$@"
step "A table" ask "Read the chart." --image "$home/examples/bars.png" -m "$name" --schema '[color, value:int]' --format csv -n "$@"
step "Two images" ask "What differs between {1} and {2}?" --image "$home/examples/bars.png" --image "$home/examples/runs.png" -m "$name" -v -n "$@"
step "An evaluation" eval chartqa -m "$name" --limit 50 --seed 1

cat "$report"
rm -f "$report"
exit "$((failed > 0))"
