import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads topics from the beginning to the end and prints a JSON line for each record. It knows nothing of Touchline but
 * the names of two headers: what any consumer with `read_committed` sees.
 *
 * <p>Run: java -cp 'JARS/*' PlainConsumer.java BOOTSTRAP TOPIC[,TOPIC…] [name=value …]
 */
public class PlainConsumer {
    /** When the end is not reached by then, something is wrong: an open transaction, or a broker that is down. */
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("isolation.level", "read_committed");
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        for (String setting : Arrays.asList(arguments).subList(2, arguments.length)) {
            String[] parts = setting.split("=", 2);
            settings.put(parts[0], parts[1]);
        }
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        StringBuilder lines = new StringBuilder();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(settings, bytes, bytes)) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (String topic : arguments[1].split(",")) {
                consumer.partitionsFor(topic).forEach(info -> partitions.add(new TopicPartition(topic, info.partition())));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            // With read_committed the end is the last stable offset: what open transactions hold is not waited for.
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            long giveUpAt = System.nanoTime() + PATIENCE.toNanos();
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                if (System.nanoTime() > giveUpAt) {
                    throw new IllegalStateException("the ends " + ends + " were not reached");
                }
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    if (record.offset() < ends.get(new TopicPartition(record.topic(), record.partition()))) {
                        lines.append(line(record)).append('\n');
                    }
                }
            }
        }
        // Whatever the locale says: JSON is UTF-8.
        System.out.write(lines.toString().getBytes(StandardCharsets.UTF_8));
        System.out.flush();
    }

    private static String line(ConsumerRecord<byte[], byte[]> record) throws Exception {
        byte[] value = record.value() == null ? new byte[0] : record.value();
        String sha256 = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(value));
        return String.format(
            "{\"topic\":%s,\"partition\":%d,\"offset\":%d,\"key\":%s,\"sequence\":%s,\"source\":%s,\"sha256\":\"%s\"}",
            text(record.topic()), record.partition(), record.offset(), text(key(record)),
            number(record, "touchline-sequence"), number(record, "touchline-offset"), sha256);
    }

    private static String key(ConsumerRecord<byte[], byte[]> record) {
        return record.key() == null ? null : new String(record.key(), StandardCharsets.UTF_8);
    }

    private static String number(ConsumerRecord<byte[], byte[]> record, String name) {
        Header header = record.headers().lastHeader(name);
        return header == null ? "null" : Long.toUnsignedString(
            Long.parseUnsignedLong(new String(header.value(), StandardCharsets.US_ASCII)));
    }

    private static String text(String raw) {
        if (raw == null) {
            return "null";
        }
        StringBuilder quoted = new StringBuilder("\"");
        for (char each : raw.toCharArray()) {
            if (each == '"' || each == '\\') {
                quoted.append('\\').append(each);
            } else if (each < 0x20) {
                quoted.append(String.format("\\u%04x", (int) each));
            } else {
                quoted.append(each);
            }
        }
        return quoted.append('"').toString();
    }
}
