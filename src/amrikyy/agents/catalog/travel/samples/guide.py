"""What the offline model knows about some cities: prices, neighbourhoods, sights and food."""

from dataclasses import dataclass
from functools import cache

from amrikyy.agents.catalog.travel.airport_table import fold
from amrikyy.agents.catalog.travel.places import Location

_CITIES = """
Paris; France; CDG; Apr May Jun Sep Oct; 230; art food culture romance history shopping museums fashion architecture
 Le Marais, Saint-Germain-des-Prés, Montmartre, Canal Saint-Martin, the Latin Quarter
 Louvre=24, Musée d'Orsay=17, Sainte-Chapelle=14, Notre-Dame=0, Père Lachaise=0, Luxembourg Gardens=0, Eiffel Tower=32
 a bistro's steak frites, oysters and Muscadet, warm croissants
London; United Kingdom; LHR; May Jun Jul Sep; 240; history theatre museums culture shopping music football food
 Covent Garden, South Bank, Notting Hill, Shoreditch, Bloomsbury
 British Museum=0, Tower of London=45, Tate Modern=0, Westminster Abbey=38, Hampstead Heath=0, Borough Market=0
 a Sunday roast, fish and chips, curry on Brick Lane
Rome; Italy; FCO; Apr May Sep Oct; 180; history food art architecture culture religion romance photography
 Trastevere, Monti, Campo de' Fiori, Prati, Testaccio
 Colosseum and Forum=20, Vatican Museums=22, Pantheon=6, Borghese Gallery=18, Appian Way=0, Janiculum Hill=0
 cacio e pepe, supplì, artichokes alla giudia
Barcelona; Spain; BCN; May Jun Sep Oct; 165; architecture beaches food nightlife art football family
 El Born, Gràcia, Eixample, Barceloneta, the Gothic Quarter
 Sagrada Família=29, Park Güell=11, Picasso Museum=15, Barceloneta beach=0, Montjuïc=0, Casa Batlló=32
 tapas and vermouth, paella by the sea, pa amb tomàquet
Lisbon; Portugal; LIS; Apr May Jun Sep Oct; 140; food culture music beaches history photography nightlife value
 Alfama, Chiado, Príncipe Real, Belém, Bairro Alto
 Jerónimos Monastery=12, Tile Museum=9, São Jorge Castle=17, tram 28=4, Miradouro da Graça=0, LX Factory=0
 pastéis de nata, grilled sardines, bacalhau à brás
Amsterdam; Netherlands; AMS; Apr May Jun Sep; 220; art museums cycling culture nightlife architecture family
 Jordaan, De Pijp, Oud-West, the Canal Belt, Noord
 Rijksmuseum=25, Van Gogh Museum=25, Anne Frank House=18, Vondelpark=0, canal cruise=20, NDSM wharf=0
 stroopwafels, rijsttafel, pickled herring
Istanbul; Türkiye; IST; Apr May Sep Oct; 110; history food culture shopping architecture religion photography value
 Sultanahmet, Karaköy, Kadıköy, Balat, Beyoğlu
 Hagia Sophia=28, Topkapı Palace=35, Grand Bazaar=0, Süleymaniye Mosque=0, Bosphorus ferry=3, Basilica Cistern=24
 a Turkish breakfast, balık ekmek, lahmacun
Cairo; Egypt; CAI; Oct Nov Dec Jan Feb Mar; 85; history museums culture adventure photography value food religion
 Zamalek, Downtown, Islamic Cairo, Garden City, Maadi
 Pyramids of Giza=15, Grand Egyptian Museum=27, Khan el-Khalili=0, Citadel=9, Coptic Cairo=0, felucca on the Nile=12
 koshari, molokhia, feteer with honey
Marrakech; Morocco; RAK; Mar Apr May Oct Nov; 95; culture food shopping photography adventure wellness desert value
 the Medina, Gueliz, the Kasbah, Mellah, Hivernage
 Jardin Majorelle=16, Bahia Palace=10, Ben Youssef Madrasa=5, Jemaa el-Fnaa=0, Menara Gardens=0, hammam=25
 tagine with preserved lemon, msemen, mint tea
Dubai; United Arab Emirates; DXB; Nov Dec Jan Feb Mar; 240; shopping beaches family luxury desert architecture adventure
 Downtown, Dubai Marina, Al Fahidi, Jumeirah, Deira
 Burj Khalifa=48, Dubai Frame=14, Gold Souk=0, abra over the Creek=1, Kite Beach=0, desert safari=65
 machboos, shawarma in Satwa, karak tea
Cape Town; South Africa; CPT; Nov Dec Jan Feb Mar; 120; nature wine hiking beaches food adventure wildlife photography
 De Waterkant, Gardens, Camps Bay, Bo-Kaap, Woodstock
 Table Mountain=25, Robben Island=33, Kirstenbosch=14, Boulders Beach=12, Sea Point promenade=0, Chapman's Peak=4
 Cape Malay curry, a braai, Stellenbosch wines
Tokyo; Japan; HND; Mar Apr May Oct Nov; 190; food culture technology shopping anime art gardens family nightlife
 Shimokitazawa, Yanaka, Ginza, Asakusa, Shibuya
 Senso-ji=0, teamLab Planets=28, Meiji Shrine=0, Tokyo National Museum=8, Shibuya Sky=18, Ueno Park=0
 a counter of sushi, tonkotsu ramen, yakitori in an alley
Kyoto; Japan; KIX; Mar Apr May Oct Nov; 175; culture history gardens temples food photography wellness crafts
 Gion, Higashiyama, Arashiyama, Pontocho, Nishijin
 Fushimi Inari=0, Kinkaku-ji=4, Kiyomizu-dera=4, Nijo Castle=9, Philosopher's Path=0, Nishiki Market=0
 kaiseki, yudofu, matcha and wagashi
Bangkok; Thailand; BKK; Nov Dec Jan Feb; 85; food temples shopping nightlife culture value markets wellness
 Thonglor, Rattanakosin, Ari, Chinatown, Silom
 Grand Palace=15, Wat Pho=9, Chatuchak Market=0, Jim Thompson House=6, Chao Phraya ferry=1, Lumphini Park=0
 boat noodles, som tam, mango sticky rice
Bali; Indonesia; DPS; May Jun Jul Aug Sep; 90; beaches wellness surfing yoga nature culture diving value romance
 Ubud, Canggu, Sanur, Seminyak, Uluwatu
 Tegallalang rice terraces=2, Tirta Empul=5, Uluwatu Temple=4, Sanur beach=0, Mount Batur sunrise=45, Campuhan Ridge=0
 babi guling, nasi campur, sate lilit
Singapore; Singapore; SIN; Feb Mar Apr Jul Aug; 210; food family shopping gardens architecture culture technology
 Tiong Bahru, Chinatown, Kampong Glam, Katong, Marina Bay
 Gardens by the Bay=24, National Gallery=15, Botanic Gardens=0, Singapore Zoo=36, Southern Ridges=0, Little India=0
 chicken rice, laksa, chilli crab
Sydney; Australia; SYD; Sep Oct Nov Feb Mar Apr; 210; beaches nature food surfing family architecture wildlife
 Surry Hills, Bondi, The Rocks, Newtown, Manly
 Opera House tour=32, Bondi to Coogee walk=0, Taronga Zoo=36, Royal Botanic Garden=0, Manly ferry=7, Art Gallery=0
 flat whites, barramundi, Sydney rock oysters
New York; United States; JFK; Apr May Jun Sep Oct Nov; 290; art theatre food shopping nightlife culture music museums
 West Village, Lower East Side, Williamsburg, Upper West Side, Harlem
 Metropolitan Museum=30, High Line=0, Central Park=0, Staten Island ferry=0, MoMA=30, Brooklyn Bridge=0, the Frick=30
 a slice of pizza, bagels and lox, dumplings in Chinatown
Mexico City; Mexico; MEX; Mar Apr May Oct Nov; 100; food museums history art culture markets nightlife value
 Roma Norte, Condesa, Coyoacán, Centro Histórico, Polanco
 Museum of Anthropology=5, Casa Azul=14, Teotihuacán=12, Chapultepec=0, Palacio de Bellas Artes=5, Xochimilco=25
 tacos al pastor, chilaquiles, mole negro
Buenos Aires; Argentina; EZE; Mar Apr May Sep Oct Nov; 110; food music dance football culture nightlife wine art
 Palermo Soho, San Telmo, Recoleta, La Boca, Villa Crespo
 Teatro Colón tour=20, Recoleta Cemetery=5, MALBA=6, San Telmo fair=0, Ecological Reserve=0, tango milonga=12
 an asado, empanadas, medialunas
Rio de Janeiro; Brazil; GIG; May Jun Jul Aug Sep; 115; beaches nature music nightlife hiking football adventure
 Ipanema, Santa Teresa, Botafogo, Copacabana, Lapa
 Christ the Redeemer=18, Sugarloaf=33, Tijuca forest=0, Selarón Steps=0, Museum of Tomorrow=6, Botanical Garden=12
 feijoada, pão de queijo, açaí
Reykjavik; Iceland; KEF; Jun Jul Aug Sep; 290; nature adventure hiking wildlife photography wellness geology
 Miðborg, Grandi, Vesturbær, Laugardalur, Hlíðar
 Golden Circle tour=85, Hallgrímskirkja tower=10, Sky Lagoon=75, Harpa=0, whale watching=95, Grótta lighthouse=0
 lamb soup, skyr, a hot dog by the harbour
"""

_MONTHS = {
    month[:3]: month
    for month in (
        "January", "February", "March", "April", "May", "June",
        "July", "August", "September", "October", "November", "December",
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class City:
    """A city in the guide.

    Attributes:
        daily_cost: bed, meals, activities and getting around, for one person a day, in US dollars.
        tags: the interests that it serves.
        sights: what to see, with the price for one person in US dollars.
    """

    name: str
    country: str
    airport: str
    months: tuple[str, ...]
    daily_cost: int
    tags: frozenset[str]
    neighbourhoods: tuple[str, ...]
    sights: tuple[tuple[str, int], ...]
    food: tuple[str, ...]


@cache
def guide() -> dict[str, City]:
    """The cities in the guide, by their folded names."""
    lines = _CITIES.strip().splitlines()
    cities = (_read(*lines[start : start + 4]) for start in range(0, len(lines), 4))
    return {fold(city.name): city for city in cities}


def describe(place: Location) -> City:
    """The city in the guide, or else one with the kind of things that every city has."""
    return guide().get(fold(place.name)) or City(
        name=place.name,
        country=place.country or "",
        airport=place.airport.code if place.airport else "",
        months=(),
        daily_cost=120,
        tags=frozenset(),
        neighbourhoods=("the old town", "the station quarter", "the waterfront", "the university quarter", "the hill"),
        sights=(
            ("the city museum", 10),
            ("the main square", 0),
            ("the viewpoint above the city", 0),
            ("the covered market", 0),
            ("the botanical garden", 6),
            ("the art gallery", 12),
            ("the old fortress", 9),
        ),
        food=("the dish of the day in a family restaurant", "street food at the market", "the region's own sweets"),
    )


def _read(head: str, neighbourhoods: str, sights: str, food: str) -> City:
    name, country, airport, months, daily_cost, tags = head.split("; ")
    priced = (sight.rsplit("=", 1) for sight in sights.strip().split(", "))
    return City(
        name=name,
        country=country,
        airport=airport,
        months=tuple(_MONTHS[month] for month in months.split()),
        daily_cost=int(daily_cost),
        tags=frozenset(tags.split()),
        neighbourhoods=tuple(neighbourhoods.strip().split(", ")),
        sights=tuple((sight, int(price)) for sight, price in priced),
        food=tuple(food.strip().split(", ")),
    )
