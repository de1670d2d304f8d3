#!/bin/sh
# Does the Kafka Streams reference do its job? Feeds events.jsonl and compares the outputs with expected.txt, which was
# written by hand. usage: run.sh HOST:PORT STREAMS_BUILD_DIRECTORY REFERENCE_PROGRAM
set -eu
brokers=$1 build=$2 reference=$3
here=$(cd "$(dirname "$0")" && pwd)
name=check-$$
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# CreateTime: the events are days apart, and the job goes by the time of its records.
"$reference" topics --brokers "$brokers" --partitions 1 --events-time CreateTime \
    --events "$name-events" --outputs "$name-tag-changes,$name-touches"
"$reference" feed --brokers "$brokers" --events "$name-events" < "$here/events.jsonl"
java -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$build/reference-streams.jar:$build/lib/*" \
    touchline.reference.Main --brokers "$brokers" --application-id "$name" --state-dir "$work/state" \
    --events "$name-events" --tag-changes "$name-tag-changes" --touches "$name-touches" \
    --records "$(wc -l < "$here/events.jsonl")" > "$work/progress"

# In order per contact; how contacts lie between each other depends on when Kafka Streams looks at its clock.
for topic in tag-changes touches; do
    echo "$topic"
    "$reference" dump --brokers "$brokers" --kind "$topic" "$name-$topic" | sort -s -k1,1
done > "$work/found"
diff "$here/expected.txt" "$work/found" && echo "as expected: $(tail -1 "$work/progress")"
