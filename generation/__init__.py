"""Ways of drawing: how a picture is asked for, whoever asks."""
