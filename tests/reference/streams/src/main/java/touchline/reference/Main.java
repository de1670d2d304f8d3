package touchline.reference;

import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** The Kafka Streams reference: Processor API, exactly_once_v2, RocksDB. Prints its progress every second. */
public final class Main {
    private static final Duration CLOSE_MAX = Duration.ofSeconds(60);
    /** How often the number of records is looked at; a line is printed every tenth time. */
    private static final long LOOK_EVERY_MS = 100;

    private Main() {}

    /** Runs until the records are done or SIGTERM; exit code 1 after an error. */
    public static void main(String[] arguments) throws InterruptedException {
        Options options;
        try {
            options = Options.parse(arguments);
        } catch (IllegalArgumentException error) {
            System.err.println(error.getMessage());
            System.exit(2);
            return;
        }
        Progress progress = new Progress();
        AtomicReference<Throwable> failure = new AtomicReference<>();
        CountDownLatch stop = new CountDownLatch(1);
        KafkaStreams streams = new KafkaStreams(topology(options, progress), config(options));
        streams.setUncaughtExceptionHandler(error -> {
            failure.set(error);
            stop.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stop.countDown();
            await(closed);
        }));
        streams.start();
        for (int look = 1; !stop.await(LOOK_EVERY_MS, TimeUnit.MILLISECONDS); look++) {
            if (look % 10 == 0) {
                progress.print();
            }
            if (options.records() > 0 && progress.records.sum() >= options.records()) {
                break;
            }
        }
        streams.close(CLOSE_MAX);
        progress.print();
        closed.countDown();
        if (failure.get() != null) {
            failure.get().printStackTrace();
            Runtime.getRuntime().halt(1);
        }
    }

    private static Topology topology(Options options, Progress progress) {
        StoreBuilder<KeyValueStore<Bytes, byte[]>> contacts = Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(ContactProcessor.CONTACTS), Serdes.Bytes(), Serdes.ByteArray());
        StoreBuilder<KeyValueStore<Bytes, byte[]>> timers = Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(ContactProcessor.TIMERS), Serdes.Bytes(), Serdes.ByteArray());
        return new Topology()
                .addSource("events", options.events())
                .addProcessor("contact", () -> new ContactProcessor(options.countViews(), progress), "events")
                .addStateStore(options.cacheMb() > 0 ? contacts.withCachingEnabled() : contacts, "contact")
                .addStateStore(timers, "contact")
                // The same key and number of partitions: an output lies in its source's partition.
                .addSink(ContactProcessor.TAG_CHANGES, options.tagChanges(), "contact")
                .addSink(ContactProcessor.TOUCHES, options.touches(), "contact");
    }

    private static Properties config(Options options) {
        Properties config = new Properties();
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, options.applicationId());
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, options.brokers());
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, options.commitIntervalMs());
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, options.threads());
        config.put(StreamsConfig.STATE_DIR_CONFIG, options.stateDir());
        config.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, (long) options.cacheMb() << 20);
        config.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArray().getClass());
        config.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArray().getClass());
        config.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, BoundedMemory.class);
        config.put(BoundedMemory.ROCKS_MB, options.rocksMb());
        config.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        config.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        config.put(StreamsConfig.ENABLE_METRICS_PUSH_CONFIG, false);
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5_000);
        config.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 50);
        config.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), options.lingerMs());
        config.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
        config.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        return config;
    }

    private static void await(CountDownLatch latch) {
        try {
            latch.await(CLOSE_MAX.toSeconds(), TimeUnit.SECONDS);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }
}
