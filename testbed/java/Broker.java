import java.nio.file.Files;
import java.nio.file.Path;

/** One Kafka broker: formats its storage where that is new, then serves. One JVM start instead of two. */
public final class Broker {
    public static void main(String[] args) throws Exception {
        String properties = args[0];
        String clusterId = args[1];
        Path data = Path.of(args[2]);
        if (!Files.exists(data.resolve("meta.properties"))) {
            int result = kafka.tools.StorageTool.execute(
                new String[] {"format", "-t", clusterId, "-c", properties}, System.out);
            if (result != 0) System.exit(result);
        }
        kafka.Kafka.main(new String[] {properties});
    }
}
