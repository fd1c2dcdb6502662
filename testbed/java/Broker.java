import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** One Kafka broker: formats its storage where that is new, then serves. One JVM start instead of two. */
public final class Broker {
    public static void main(String[] args) throws Exception {
        String properties = args[0];
        String clusterId = args[1];
        Path data = Path.of(args[2]);
        if (!Files.exists(data.resolve("meta.properties"))) {
            List<String> format = new ArrayList<>(List.of("format", "-t", clusterId, "-c", properties));
            // What stands behind the data folder is said to the formatter: users, above all.
            format.addAll(List.of(args).subList(3, args.length));
            int result = kafka.tools.StorageTool.execute(format.toArray(new String[0]), System.out);
            if (result != 0) System.exit(result);
        }
        kafka.Kafka.main(new String[] {properties});
    }
}
