import java.io.BufferedOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * The independent consumer: reads topics from their beginning, read_committed, with Kafka's own
 * client, and prints one JSON line per record.
 *
 * Arguments: bootstrap, topics (comma), "follow" or "until-end".
 */
public final class Reader {
    private static final Base64.Encoder BASE64 = Base64.getEncoder();

    public static void main(String[] args) throws Exception {
        Thread owner = new Thread(Reader::endWithOwner);
        owner.setDaemon(true);
        owner.start();
        PrintStream out = new PrintStream(
            new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(args[0])) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (String topic : args[1].split(",")) {
                consumer.partitionsFor(topic).forEach(p -> partitions.add(new TopicPartition(topic, p.partition())));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            if (args[2].equals("follow")) follow(consumer, out);
            else untilEnd(consumer, partitions, out);
        }
    }

    /** Standard input ends when the process that started us does. */
    private static void endWithOwner() {
        try {
            while (System.in.read() >= 0) continue;
        } catch (java.io.IOException closed) {
            // As good as its end.
        }
        Runtime.getRuntime().halt(0);
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String bootstrap) {
        Properties properties = new Properties();
        properties.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        // Brokers before 0.11 know neither transactions nor a request for their end.
        properties.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, System.getProperty("isolation", "read_committed"));
        properties.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
        properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none");
        properties.put("allow.auto.create.topics", "false");
        properties.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, "5000");
        properties.put(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, "50");
        properties.put(ConsumerConfig.METADATA_MAX_AGE_CONFIG, "5000");
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static void follow(KafkaConsumer<byte[], byte[]> consumer, PrintStream out) {
        while (!out.checkError()) print(consumer.poll(Duration.ofMillis(500)), out);
    }

    /** For a read_committed consumer the end is the last stable offset. */
    private static void untilEnd(
            KafkaConsumer<byte[], byte[]> consumer, List<TopicPartition> partitions, PrintStream out) {
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
        while (!out.checkError() && !ends.entrySet().stream().allMatch(
                end -> consumer.position(end.getKey()) >= end.getValue())) {
            print(consumer.poll(Duration.ofMillis(200)), out);
        }
        out.println("{\"eof\":true}");
        out.flush();
    }

    private static void print(ConsumerRecords<byte[], byte[]> records, PrintStream out) {
        Instant now = Instant.now();
        long received = now.getEpochSecond() * 1_000_000 + now.getNano() / 1_000;
        StringBuilder line = new StringBuilder(1024);
        for (ConsumerRecord<byte[], byte[]> record : records) {
            line.setLength(0);
            line.append("{\"topic\":\"").append(record.topic())
                .append("\",\"partition\":").append(record.partition())
                .append(",\"offset\":").append(record.offset())
                .append(",\"timestamp\":").append(record.timestamp())
                .append(",\"receivedAtMicros\":").append(received)
                .append(",\"key\":");
            bytes(line, record.key());
            line.append(",\"value\":");
            bytes(line, record.value());
            line.append(",\"headers\":[");
            String separator = "";
            for (Header header : record.headers()) {
                line.append(separator).append("[\"")
                    .append(BASE64.encodeToString(header.key().getBytes(StandardCharsets.UTF_8))).append("\",");
                bytes(line, header.value());
                line.append(']');
                separator = ",";
            }
            line.append("]}");
            out.println(line);
        }
        if (!records.isEmpty()) out.flush();
    }

    private static void bytes(StringBuilder line, byte[] bytes) {
        if (bytes == null) line.append("null");
        else line.append('"').append(BASE64.encodeToString(bytes)).append('"');
    }
}
