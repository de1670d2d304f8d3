package touchline.reference;

import java.util.HashMap;
import java.util.Map;

/**
 * What the command line says.
 *
 * @param brokers          {@code host:port}
 * @param applicationId    consumer group, prefix of transactional ids and of changelog topics
 * @param events           topic read
 * @param tagChanges       topic of tag changes
 * @param touches          topic of touches
 * @param threads          stream threads
 * @param commitIntervalMs how long a transaction is kept open
 * @param records          stop after so many; 0: until SIGTERM
 * @param stateDir         where RocksDB lies
 * @param cacheMb          record cache above RocksDB, over all threads; 0: none, which is faster here
 * @param rocksMb          block cache of all stores together, memtables included
 * @param countViews       whether product views are counted; off for a comparison with a program that does not
 * @param lingerMs         linger of the producers; every commit flushes, so more only makes batches larger
 */
record Options(
        String brokers,
        String applicationId,
        String events,
        String tagChanges,
        String touches,
        int threads,
        long commitIntervalMs,
        long records,
        String stateDir,
        int cacheMb,
        int rocksMb,
        boolean countViews,
        int lingerMs) {

    private static final String USAGE = "usage: --brokers HOST:PORT --state-dir DIRECTORY [--application-id ID]"
            + " [--events TOPIC] [--tag-changes TOPIC] [--touches TOPIC] [--threads N] [--commit-interval-ms N]"
            + " [--records N] [--cache-mb N] [--rocks-mb N] [--count-views true|false] [--linger-ms N]";

    /** Reads {@code --name value} pairs. */
    static Options parse(String[] arguments) {
        Map<String, String> given = new HashMap<>();
        for (int index = 0; index < arguments.length; index += 2) {
            if (!arguments[index].startsWith("--") || index + 1 == arguments.length) {
                throw new IllegalArgumentException(USAGE);
            }
            given.put(arguments[index].substring(2), arguments[index + 1]);
        }
        Options options = new Options(
                take(given, "brokers", null),
                take(given, "application-id", "reference-streams"),
                take(given, "events", "events"),
                take(given, "tag-changes", "tag-changes"),
                take(given, "touches", "touches"),
                Integer.parseInt(take(given, "threads", "2")),
                Long.parseLong(take(given, "commit-interval-ms", "100")),
                Long.parseLong(take(given, "records", "0")),
                take(given, "state-dir", null),
                Integer.parseInt(take(given, "cache-mb", "0")),
                Integer.parseInt(take(given, "rocks-mb", "192")),
                Boolean.parseBoolean(take(given, "count-views", "true")),
                Integer.parseInt(take(given, "linger-ms", "100")));
        if (!given.isEmpty()) {
            throw new IllegalArgumentException("unknown: " + given.keySet() + "\n" + USAGE);
        }
        return options;
    }

    private static String take(Map<String, String> given, String name, String otherwise) {
        String value = given.remove(name);
        if (value == null && otherwise == null) {
            throw new IllegalArgumentException("--" + name + " is missing\n" + USAGE);
        }
        return value == null ? otherwise : value;
    }
}
