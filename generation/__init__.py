"""Generation: how a picture is asked for, whoever asks and whoever draws."""
